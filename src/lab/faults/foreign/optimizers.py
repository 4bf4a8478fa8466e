"""The optimizers of the foreign suite: each takes a healthy rate, and later a factor on it."""

from __future__ import annotations

import torch

from lab.faults.foreign.base import Optimize


def adam(lr: float) -> Optimize:
    """Return Adam."""
    return lambda p, factor: torch.optim.Adam(p, lr * factor)


def gan_adam(lr: float) -> Optimize:
    """Return Adam with the betas of GANs."""
    return lambda p, factor: torch.optim.Adam(p, lr * factor, betas=(0.5, 0.999))


def adamw(lr: float, decay: float = 0.05) -> Optimize:
    """Return AdamW."""
    return lambda p, factor: torch.optim.AdamW(p, lr * factor, weight_decay=decay)


def sgd(lr: float, momentum: float = 0.9) -> Optimize:
    """Return SGD with momentum."""
    return lambda p, factor: torch.optim.SGD(p, lr * factor, momentum)


def rmsprop(lr: float) -> Optimize:
    """Return RMSprop."""
    return lambda p, factor: torch.optim.RMSprop(p, lr * factor)


def lbfgs(lr: float) -> Optimize:
    """Return L-BFGS with four iterations a step."""
    return lambda p, factor: torch.optim.LBFGS(p, lr * factor, max_iter=4)
