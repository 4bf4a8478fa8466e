"""Scales at the end of a residual branch, just before the addition.

Without a norm each block adds its branch's variance to the signal, which so grows with depth. A
small scale at the start keeps the blocks near their shortcuts.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


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


def unscaled(channels: int, blocks: int) -> nn.Identity:
    """Leave the branch as it is."""
    return nn.Identity()


def learned(channels: int, blocks: int, *, initial: float, per_channel: bool) -> ScaledBranch:
    """Scale by learned numbers that all start at `initial`."""
    return ScaledBranch(channels, initial=initial, per_channel=per_channel)


def by_depth(channels: int, blocks: int, *, power: float) -> FixedBranch:
    """Scale by blocks ** -power: with 0.5 the signal's growth has a limit at any depth.

    Hayou et al. 2021 (arXiv:2010.12859).
    """
    return FixedBranch(float(blocks) ** -power)
