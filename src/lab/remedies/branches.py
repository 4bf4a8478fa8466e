"""What keeps a ResNet's blocks near their shortcuts at first: scaled branches, and Fixup.

Without a norm each block adds its branch's variance to the signal, which so grows with depth. A
scale stands at the end of a residual branch, just before the addition.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from project.models import BasicBlock
from project.models.blocks import ActivationFactory
from project.models.initializers import Fan, kaiming_normal


class ScaledBranch(nn.Module):
    """Multiply a branch (B, C, H, W) by learned numbers: one for all, or one for each channel."""

    def __init__(self, channels: int, *, initial: float, per_channel: bool) -> None:
        super().__init__()
        shape = (channels, 1, 1) if per_channel else ()
        self.scale = nn.Parameter(torch.full(shape, float(initial)))

    def forward(self, x: Tensor) -> Tensor:
        """Return x times the scale."""
        return x * self.scale

    def extra_repr(self) -> str:
        """Return the attributes that `print(net)` shows."""
        return f"shape={tuple(self.scale.shape)}"


class FixedBranch(nn.Module):
    """Multiply a branch by a constant."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        """Return x times the constant."""
        return x * self.scale

    def extra_repr(self) -> str:
        """Return the attributes that `print(net)` shows."""
        return f"scale={self.scale:.4g}"


def learned(channels: int, blocks: int, *, initial: float, per_channel: bool) -> ScaledBranch:
    """Scale by learned numbers that all start at `initial`."""
    return ScaledBranch(channels, initial=initial, per_channel=per_channel)


def by_depth(channels: int, blocks: int, *, power: float) -> FixedBranch:
    """Scale by blocks ** -power: with 0.5 the signal's growth has a limit at any depth.

    Hayou et al. 2021 (arXiv:2010.12859).
    """
    return FixedBranch(float(blocks) ** -power)


def fixup(net: nn.Module, activation: ActivationFactory, *, gain: float | None, mode: Fan) -> None:
    """Initialize as `kaiming_normal`, but residual branches and the head as Fixup does.

    Zhang, Dauphin & Ma 2019 (arXiv:1901.09321), rules 1 and 2, for L branches of two convolutions:
    the first is divided by sqrt(L), the second and the head are 0. Rule 3, the learned scales and
    biases, is the net's own: branch=scalar, and the biases of convolutions without a norm.

    Raises:
        ValueError: if the net has no skip connection.
    """
    blocks = [m for m in net.modules() if isinstance(m, BasicBlock) and m.shortcut is not None]
    if not blocks:
        raise ValueError("init fixup needs a net with skip connections: model.skip=true")
    kaiming_normal(net, activation, gain=gain, mode=mode)
    with torch.no_grad():
        for block in blocks:
            block.conv1.weight.div_(math.sqrt(len(blocks)))
            block.conv2.weight.zero_()
        for module in net.modules():
            if isinstance(module, nn.Linear):
                module.weight.zero_()
