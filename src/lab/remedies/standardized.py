"""Scaled weight standardization: every filter has mean 0 and a fixed variance in each forward pass.

Brock et al. 2021 (arXiv:2101.08692). The convolution is timm's; this file replaces a net's own.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from lab.theory.mean_field import gaussian_moments
from project.models.blocks import ActivationFactory
from project.models.initializers import kaiming_normal


def standardize(net: nn.Module, activation: ActivationFactory, *, gain: float | None) -> None:
    """Replace each convolution of `net` by one whose weights are standardized; then draw weights.

    A filter's weights w become gain (w - mean) / (std sqrt(fan_in)), times a learned number for
    each channel that is 1 at first. The gain None means 1 / sqrt(Var[phi(z)]), with which z keeps
    the variance 1 from layer to layer: 1.7129 for ReLU. The weights themselves are LeCun's; their
    size changes no output, but it divides the effective learning rate.

    Raises:
        ValueError: if timm is missing, or the net has no convolution, or one of another class or
            that is not padded with zeros.
    """
    try:
        from timm.layers.std_conv import ScaledStdConv2d
    except ImportError as error:
        raise ValueError("needs timm: pip install timm") from error
    convolutions: list[tuple[str, Any]] = [
        (name, m) for name, m in net.named_modules() if isinstance(m, nn.Conv2d)
    ]
    if not convolutions:
        raise ValueError("needs a net with convolutions")
    gamma = _gain(activation()) if gain is None else gain
    for name, conv in convolutions:
        if (kind := conv.__class__) is not nn.Conv2d:
            raise ValueError(f"needs plain convolutions, and {name} is a {kind.__name__}")
        if conv.padding_mode != "zeros":
            raise ValueError(f"needs padding=zeros, and {name} has padding={conv.padding_mode}")
        new = ScaledStdConv2d(
            conv.in_channels,
            conv.out_channels,
            conv.kernel_size,
            stride=conv.stride,
            padding=conv.padding,
            dilation=conv.dilation,
            groups=conv.groups,
            bias=conv.bias is not None,
            gamma=gamma,
        )
        parent, _, own = name.rpartition(".")
        setattr(net.get_submodule(parent), own, new)
    kaiming_normal(net, activation, gain=1.0, mode="fan_in")


def _gain(activation: nn.Module) -> float:
    """Return 1 / sqrt(Var[phi(z)]) for z ~ N(0, 1); ValueError if phi is constant."""
    mean, _, squared, _ = gaussian_moments(activation, torch.ones(1))[:, 0].tolist()
    if not squared > mean**2:
        raise ValueError(f"{activation} is constant for normal z, so no gain keeps its variance")
    return float((squared - mean**2) ** -0.5)
