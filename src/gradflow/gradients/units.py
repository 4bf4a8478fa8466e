"""Dead and saturated units, judged by the activation's derivative at its pre-activations.

A unit is a channel of a convolution, or a feature of a linear layer. The derivative phi'(z) decides
and not a fixed bound on |z|, so one definition holds for sigmoid, ReLU and everything between.
"""

from __future__ import annotations

import copy
import math
from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

FLAT = 0.05  # share of the largest |phi'|: a smaller slope passes almost no gradient
# The largest |phi'| is searched for on a grid over -10 … 10. Its number of points is even, to leave
# out 0, where many derivatives jump. There are fewer points if the grid must repeat in many units.
_POINTS, _GRID_ELEMENTS = 1002, 2**18


@torch.no_grad()
def dead_and_saturated(layers: Sequence[tuple[nn.Module, Tensor]]) -> Tensor:
    """Return the share of dead and of saturated units in each layer: float64 (n, 2).

    `layers` are activations phi with their pre-activations z, of shape (B, units), (B, T, units),
    (B, units, …), or (B,) for a single unit. Over all of its z a unit is

    - dead if phi(z) and phi'(z) are exactly 0: its output is 0, and its weights get no gradient;
    - saturated if it is not dead and the mean of |phi'(z)| is below `FLAT` times the largest slope
      of phi.

    Random activations are judged by their slope in evaluation mode. A unit with NaN is neither. If
    phi is not elementwise, both shares are NaN.
    """
    groups: dict[tuple[object, ...], list[int]] = {}
    for i, (phi, z) in enumerate(layers):
        groups.setdefault((_function_key(phi), z.shape, z.device), []).append(i)
    shares: list[Tensor] = [torch.empty(0)] * len(layers)
    for members in groups.values():
        phi = _in_evaluation(layers[members[0]][0])
        # One call for all layers; z keeps the shape that fits the parameters of phi.
        z = torch.cat([layers[i][1] for i in members])
        value, slope = _value_and_slope(phi, z)
        wide = torch.float32 if z.device.type == "mps" else torch.float64
        if value.shape != z.shape:
            found = torch.full((len(members), 2), torch.nan, dtype=wide, device=z.device)
        else:
            # Four times as fast as the 1-norm.
            slopes = _sums(slope, len(members))  # (layers, units)
            both = slopes + _sums(value, len(members))  # 0 only if both are
            values_per_unit = z.numel() // slopes.numel()
            flat = slopes / values_per_unit < FLAT * _largest_slope(phi, z)
            saturated = flat & (both > 0)  # False for NaN
            found = torch.stack([both == 0, saturated], dim=-1).to(wide).mean(dim=1)
        for i, share in zip(members, found.unbind(), strict=True):
            shares[i] = share
    return torch.stack(shares)


def _sums(x: Tensor, layers: int) -> Tensor:
    """Sum |x| over all but the units, for `layers` layers concatenated in x: (layers, units)."""
    by_unit = _by_unit(x).abs()
    wide = torch.promote_types(x.dtype, torch.float32)
    return by_unit.view(layers, -1, by_unit.shape[-1]).sum(dim=1, dtype=wide)


def _by_unit(z: Tensor) -> Tensor:
    """Reshape (B, units, H, W) and the like to (B H W, units), without a copy if channels-last."""
    if z.ndim < 2:
        return z.reshape(-1, 1)
    return z.movedim(unit_dimension(z), -1).flatten(0, -2)


def unit_dimension(z: Tensor) -> int:
    """Return which dimension of a pre-activation (two or more dimensions) is that of its units."""
    return 2 if z.ndim == 3 else 1


def unit_count(z: Tensor) -> int:
    """Return the number of units of a pre-activation; 1 if it has at most one number per image."""
    return z.shape[unit_dimension(z)] if z.ndim > 1 else 1


def _function_key(phi: nn.Module) -> object:
    """Return a key that is the same for activations that are the same function."""
    if _is_of_torch(phi) and not phi._parameters:
        return type(phi), phi.extra_repr()
    return phi


def _is_of_torch(phi: nn.Module) -> bool:
    """Return whether phi is one of torch.nn's own modules, and not a container."""
    return type(phi).__module__.startswith("torch.nn") and not phi._modules


def _in_evaluation(phi: nn.Module) -> nn.Module:
    """Return a copy of phi in evaluation mode, with the same tensors and without hooks."""
    twin = copy.copy(phi)
    twin.training = False
    if _is_of_torch(phi) and hasattr(phi, "inplace"):
        twin.__dict__["inplace"] = False  # the same function, without a copy of z
    twin._forward_pre_hooks, twin._forward_hooks = OrderedDict(), OrderedDict()
    twin._modules = {
        name: None if module is None else _in_evaluation(module)
        for name, module in phi._modules.items()
    }
    return twin


def _value_and_slope(phi: nn.Module, z: Tensor) -> tuple[Tensor, Tensor]:
    """Return phi(z) and, in the shape of z, phi'(z); the slope is 0 if no gradient reaches z."""
    parameter = next(phi.parameters(), None)
    if parameter is not None:
        z = z.to(parameter.dtype)
    elif z.dtype in (torch.float16, torch.bfloat16):
        z = z.float()
    may_be_in_place = not _is_of_torch(phi)
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        value: Tensor = phi(z * 1 if may_be_in_place else z)  # a leaf must not change in place
        slope = None
        if value.requires_grad:
            one = torch.ones((), dtype=value.dtype, device=value.device).expand_as(value)
            (slope,) = torch.autograd.grad(value, z, one, allow_unused=True)
    return value.detach(), torch.zeros_like(z) if slope is None else slope


_largest_slopes: dict[object, float] = {}


def _largest_slope(phi: nn.Module, z: Tensor) -> Tensor | float:
    """Return the largest |phi'|; one for each unit, on the device, if phi is not torch.nn's own.

    NaN if phi is not elementwise on a grid of the units.
    """
    if not isinstance(key := _function_key(phi), nn.Module):
        if key not in _largest_slopes:
            grid = torch.linspace(-10, 10, _POINTS)
            _largest_slopes[key] = float(_value_and_slope(phi, grid)[1].abs().max())
        return _largest_slopes[key]
    # Pixels share a channel's parameters; in a sequence either dimension can have parameters.
    inner = z.shape[1:2] + (1,) * (z.ndim - 2) if z.ndim != 3 else z.shape[1:]
    points = max(16, min(_POINTS, _GRID_ELEMENTS // math.prod(inner))) // 2 * 2
    grid = torch.linspace(-10, 10, points, device=z.device).view(-1, *(1,) * len(inner))
    grid = grid.expand(-1, *inner).contiguous()
    value, slope = _value_and_slope(phi, grid)
    if value.shape != grid.shape:
        return math.nan
    return _by_unit(slope).abs().amax(dim=0)
