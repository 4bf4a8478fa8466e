"""The faults of the foreign suite, and the kinds of verdict that name each of them rightly."""

from __future__ import annotations

from functools import partial

import torch
from torch import nn

from lab.faults.foreign.base import Fault


@torch.no_grad()
def _scale(net: nn.Module, factor: float) -> None:
    for p in net.parameters():
        if p.ndim > 1:
            p.mul_(factor)


@torch.no_grad()
def _zero_hidden(net: nn.Module) -> None:
    """Set all weights and biases to 0 except the last layer's weight."""
    last = [p for p in net.parameters() if p.ndim > 1][-1]
    for p in net.parameters():
        if p is not last:
            p.zero_()


@torch.no_grad()
def _shift(net: nn.Module, bias: float, random_sign: bool = False) -> None:
    """Set all biases to `bias` except those of the last layer."""
    biases = [p for name, p in net.named_parameters() if name.endswith("bias") and p.ndim == 1]
    for p in biases[:-1]:
        sign = torch.randint(0, 2, p.shape) * 2.0 - 1 if random_sign else 1.0
        p.copy_(torch.full_like(p, bias) * sign)


def _sigmoid(net: nn.Module) -> None:
    """Replace every activation module by a sigmoid."""
    kinds = (nn.ReLU, nn.GELU, nn.SiLU, nn.Tanh, nn.SELU, nn.ELU, nn.Mish, nn.LeakyReLU)
    for module in list(net.modules()):
        for name, child in module.named_children():
            if isinstance(child, kinds):
                setattr(module, name, nn.Sigmoid())


SLOW = Fault("lr_too_low", ("untrained",), lr=1e-4)
BLIND = Fault("blind", ("untrained",), blind=True)
SMALL = Fault("init_too_small", ("frozen", "vanishing"), change=partial(_scale, factor=0.1))
TINY = Fault("init_too_small", ("frozen", "vanishing"), change=partial(_scale, factor=0.02))
LARGE = Fault("init_too_large", ("exploding", "diverged"), change=partial(_scale, factor=5.0))
HUGE = Fault("init_too_large", ("exploding", "diverged"), change=partial(_scale, factor=20.0))
STEEP = Fault(
    "init_too_large", ("saturated", "exploding", "diverged"), change=partial(_scale, factor=20.0)
)
SIGMOID = Fault("sigmoid", ("vanishing",), change=_sigmoid)
DEAD = Fault("negative_bias", ("dead",), change=partial(_shift, bias=-30.0))
STUCK = Fault("large_bias", ("saturated",), change=partial(_shift, bias=30.0, random_sign=True))
PUSHED = Fault("large_bias", ("saturated",), change=partial(_shift, bias=30.0))
ZERO = Fault("zero_weights", ("frozen", "dead", "vanishing"), change=_zero_hidden)
BRIGHT = Fault("inputs_too_large", ("exploding", "diverged", "dead", "saturated"), inputs=1e4)


def fast(factor: float = 300.0) -> Fault:
    """Return a learning rate that is too high by `factor`."""
    return Fault("lr_too_high", ("diverged", "exploding", "dead", "saturated"), lr=factor)
