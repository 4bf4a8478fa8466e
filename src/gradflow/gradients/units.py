"""Dead and saturated units, judged by the activation's derivative at its pre-activations.

A unit is a channel of a convolution, or a feature of a linear layer. The derivative phi'(z) decides
and not a fixed bound on |z|, so one definition holds for sigmoid, ReLU and everything between.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from gradflow.gradients.functions import NONLINEARITIES

FLAT = 0.05  # share of the largest |phi'|: a smaller slope passes almost no gradient
# The largest |phi'| is searched for on a grid over -10 … 10. Its number of points is even, to leave
# out 0, where many derivatives jump.
_POINTS = 1002


class Judged(NamedTuple):
    """A nonlinearity phi with its pre-activations z, and phi(z) as the training pass put it out.

    Shapes of z: (B, units), (B, T, units), (B, units, …), or (B,) for a single unit. The output has
    the same shape; it may be None if `is_known(phi)`.
    """

    phi: nn.Module
    z: Tensor
    output: Tensor | None


def is_known(phi: nn.Module) -> bool:
    """Return whether phi is a pure function that torch.nn defines: it can be called once more."""
    return type(phi) in NONLINEARITIES or type(phi) is nn.Identity


@torch.no_grad()
def dead_and_saturated(layers: Sequence[Judged]) -> Tensor:
    """Return the share of dead and of saturated units in each layer: float64 (n, 2).

    Over all of its z a unit is

    - dead if phi(z) and phi'(z) are exactly 0: its output is 0, and its weights get no gradient;
    - saturated if it is not dead, z is not 0 throughout, and the mean of |phi'(z)| is below `FLAT`
      times the largest slope of phi.

    A phi that is not known is never called, since it may have a state: a unit is dead if its output
    is exactly 0, and saturation is NaN, not judged. Random activations are judged by their slope in
    evaluation mode. A unit with NaN is neither.
    """
    groups: dict[tuple[object, ...], list[int]] = {}
    shares: list[Tensor] = [torch.empty(0)] * len(layers)
    for i, (phi, z, output) in enumerate(layers):
        if is_known(phi):
            groups.setdefault((_function_key(phi), z.shape, z.device), []).append(i)
        else:
            shares[i] = _dead_output(output, z)
    for members in groups.values():
        phi = _in_evaluation(layers[members[0]].phi)
        # One call for all layers; z keeps the shape that fits the parameters of phi.
        z = torch.cat([layers[i].z for i in members])
        value, slope = _value_and_slope(phi, z)
        # Four times as fast as the 1-norm.
        slopes = _sums(slope, len(members))  # (layers, units)
        both = slopes + _sums(value, len(members))  # 0 only if both are
        values_per_unit = z.numel() // slopes.numel()
        flat = slopes / values_per_unit < FLAT * _largest_slope(phi, z)
        saturated = flat & (both > 0) & (_sums(z, len(members)) > 0)  # False for NaN
        found = torch.stack([both == 0, saturated], dim=-1).to(_wide(z)).mean(dim=1)
        for i, share in zip(members, found.unbind(), strict=True):
            shares[i] = share
    # One device, though a net may lie on several.
    return torch.stack([share.to(shares[0].device) for share in shares])


def _dead_output(output: Tensor | None, z: Tensor) -> Tensor:
    shares = torch.full((2,), torch.nan, dtype=_wide(z), device=z.device)
    if output is not None:
        shares[0] = (_sums(output, 1) == 0).to(shares).mean()
    return shares


def _wide(x: Tensor) -> torch.dtype:
    return torch.float32 if x.device.type == "mps" else torch.float64


def _sums(x: Tensor, layers: int) -> Tensor:
    """Sum |x| over all but the units, for `layers` layers concatenated in x: (layers, units)."""
    if x.ndim < 2:
        x = x.reshape(-1, 1)
    by_layer = x.abs().view(layers, -1, *x.shape[1:])
    others = [i for i in range(1, by_layer.ndim) if i != 1 + unit_dimension(x)]
    wide = torch.promote_types(x.dtype, torch.float32)
    return torch.sum(by_layer, dim=others, dtype=wide)


def unit_dimension(z: Tensor) -> int:
    """Return which dimension of a pre-activation (two or more dimensions) is that of its units."""
    return 2 if z.ndim == 3 else 1


def unit_count(z: Tensor) -> int:
    """Return the number of units of a pre-activation; 1 if it has at most one number per image."""
    return z.shape[unit_dimension(z)] if z.ndim > 1 else 1


def _function_key(phi: nn.Module) -> object:
    """Return a key that is the same for activations that are the same function."""
    return phi if phi._parameters else (type(phi), phi.extra_repr())


def _in_evaluation(phi: nn.Module) -> nn.Module:
    """Return a copy of phi in evaluation mode, with the same tensors and without hooks."""
    twin = copy.copy(phi)
    twin.training = False
    if hasattr(phi, "inplace"):
        twin.__dict__["inplace"] = False
    twin._forward_pre_hooks, twin._forward_hooks = OrderedDict(), OrderedDict()
    return twin


def _value_and_slope(phi: nn.Module, z: Tensor) -> tuple[Tensor, Tensor]:
    """Return phi(z) and, in the shape of z, phi'(z); the slope is 0 if no gradient reaches z."""
    parameter = next(phi.parameters(), None)
    if parameter is not None:
        z = z.to(parameter.dtype)
    elif z.dtype in (torch.float16, torch.bfloat16):
        z = z.float()
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        value: Tensor = phi(z)
        slope = None
        if value.requires_grad:
            one = torch.ones((), dtype=value.dtype, device=value.device).expand_as(value)
            (slope,) = torch.autograd.grad(value, z, one, allow_unused=True)
    return value.detach(), torch.zeros_like(z) if slope is None else slope


_largest_slopes: dict[object, float] = {}


def _largest_slope(phi: nn.Module, z: Tensor) -> Tensor | float:
    """Return the largest |phi'|; for PReLU, one for each unit, on the device."""
    if isinstance(phi, nn.PReLU):
        slopes = phi.weight.detach().abs().clamp(min=1)
        return slopes.max() if z.ndim == 3 else slopes  # a sequence has one for each position
    key = _function_key(phi)
    if key not in _largest_slopes:
        grid = torch.linspace(-10, 10, _POINTS)
        _largest_slopes[key] = float(_value_and_slope(phi, grid)[1].abs().max())
    return _largest_slopes[key]
