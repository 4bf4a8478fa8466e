"""The optimizers of the foreign suite: each takes a healthy rate, and later a factor on it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

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


def nadam(lr: float) -> Optimize:
    """Return NAdam."""
    return lambda p, factor: torch.optim.NAdam(p, lr * factor)


def radam(lr: float) -> Optimize:
    """Return RAdam."""
    return lambda p, factor: torch.optim.RAdam(p, lr * factor)


def adamax(lr: float) -> Optimize:
    """Return Adamax."""
    return lambda p, factor: torch.optim.Adamax(p, lr * factor)


def adagrad(lr: float) -> Optimize:
    """Return Adagrad."""
    return lambda p, factor: torch.optim.Adagrad(p, lr * factor)


def nesterov(lr: float) -> Optimize:
    """Return SGD with Nesterov's momentum and weight decay."""
    return lambda p, factor: torch.optim.SGD(p, lr * factor, 0.9, weight_decay=5e-4, nesterov=True)


class Lion(Optimizer):
    """Lion: steps of the sign of a mean of gradients (Chen et al. 2023)."""

    def __init__(self, parameters: Iterable[Tensor], lr: float) -> None:
        super().__init__(parameters, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Take one step."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                mean = self.state[p].setdefault("mean", torch.zeros_like(p))
                p.sub_(group["lr"] * torch.sign(0.9 * mean + 0.1 * p.grad))
                mean.lerp_(p.grad, 0.01)
        return loss


def lion(lr: float) -> Optimize:
    """Return Lion."""
    return lambda p, factor: Lion(p, lr * factor)
