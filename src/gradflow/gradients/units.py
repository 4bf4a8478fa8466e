"""Dead and saturated units: what an activation's own derivative says of its pre-activations.

A unit is a channel of a convolution, or a feature of a linear layer. Not a fixed bound on |z|
decides, but phi'(z), so that the same words hold for sigmoid, ReLU and everything between.
"""

from __future__ import annotations

import copy
import math
from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

FLAT = 0.05  # |phi'| below this share of its largest value lets next to nothing through
# Where the largest |phi'| is looked for: -10 … 10 in an even number of points, so without 0, where
# many derivatives jump; fewer points where each must be tried in every feature of a sequence.
_POINTS, _TRIED = 1002, 2**18


@torch.no_grad()
def dead_and_saturated(layers: Sequence[tuple[nn.Module, Tensor]]) -> Tensor:
    """Return the share of dead and of saturated units in each layer: float64 (n, 2).

    `layers` are activations phi with their pre-activations z, of shape (B, units), (B, T, units),
    (B, units, …), or (B,) for a single unit. Over the whole of z a unit is

    - dead if phi(z) and phi'(z) are exactly 0: it says nothing, and nothing reaches its weights;
    - saturated if it is not dead and the mean of |phi'(z)| is below `FLAT` times the largest slope
      that phi has.

    Random activations count with the slope that they have in evaluation. NaN is neither. Where phi
    is not elementwise, both shares are NaN.
    """
    groups: dict[tuple[object, ...], list[int]] = {}
    for i, (phi, z) in enumerate(layers):
        groups.setdefault((_same(phi), z.shape, z.device), []).append(i)
    shares: list[Tensor] = [torch.empty(0)] * len(layers)
    for members in groups.values():
        phi = _in_evaluation(layers[members[0]][0])
        # One call for all; phi sees the shape that it saw in the net, which its parameters fit.
        z = torch.cat([layers[i][1] for i in members])
        value, slope = _value_and_slope(phi, z)
        wide = torch.float32 if z.device.type == "mps" else torch.float64
        if value.shape != z.shape:
            found = torch.full((len(members), 2), torch.nan, dtype=wide, device=z.device)
        else:
            # Four times as fast as the norm of order 1.
            slopes = _sums(slope, len(members))  # (layers, units)
            both = slopes + _sums(value, len(members))  # 0 only where each of them is
            of_a_unit = z.numel() // slopes.numel()
            flat = slopes / of_a_unit < FLAT * _largest_slope(phi, z)
            saturated = flat & (both > 0)  # not where it is NaN
            found = torch.stack([both == 0, saturated], dim=-1).to(wide).mean(dim=1)
        for i, share in zip(members, found.unbind(), strict=True):
            shares[i] = share
    return torch.stack(shares)


def _sums(x: Tensor, layers: int) -> Tensor:
    """Sum |x| over all but the units of each of `layers` that are one behind the other."""
    by_unit = _by_unit(x).abs()
    wide = torch.promote_types(x.dtype, torch.float32)
    return by_unit.view(layers, -1, by_unit.shape[-1]).sum(dim=1, dtype=wide)


def _by_unit(z: Tensor) -> Tensor:
    """(B, units, H, W) and the like to (B H W, units); free where the memory is channels-last."""
    if z.ndim < 2:
        return z.reshape(-1, 1)
    return z.movedim(unit_dimension(z), -1).flatten(0, -2)


def unit_dimension(z: Tensor) -> int:
    """Say which dimension of a pre-activation of at least two counts its units."""
    return 2 if z.ndim == 3 else 1


def unit_count(z: Tensor) -> int:
    """Say how many units a pre-activation has: one, where it has a number per image at most."""
    return z.shape[unit_dimension(z)] if z.ndim > 1 else 1


def _same(phi: nn.Module) -> object:
    """Return what activations have in common that are one function."""
    if _is_of_torch(phi) and not phi._parameters:
        return type(phi), phi.extra_repr()
    return phi


def _is_of_torch(phi: nn.Module) -> bool:
    """Say whether phi is one of torch.nn's own, and none of its containers."""
    return type(phi).__module__.startswith("torch.nn") and not phi._modules


def _in_evaluation(phi: nn.Module) -> nn.Module:
    """Return phi in evaluation, with the same tensors, and without the hooks of its modules."""
    twin = copy.copy(phi)
    twin.training = False
    if _is_of_torch(phi) and hasattr(phi, "inplace"):
        twin.__dict__["inplace"] = False  # the same function, and z need not be copied for it
    twin._forward_pre_hooks, twin._forward_hooks = OrderedDict(), OrderedDict()
    twin._modules = {
        name: None if module is None else _in_evaluation(module)
        for name, module in phi._modules.items()
    }
    return twin


def _value_and_slope(phi: nn.Module, z: Tensor) -> tuple[Tensor, Tensor]:
    """phi(z) and phi'(z), the latter in the shape of z; 0 where autograd knows of no way to z."""
    parameter = next(phi.parameters(), None)
    if parameter is not None:
        z = z.to(parameter.dtype)
    elif z.dtype in (torch.float16, torch.bfloat16):
        z = z.float()
    in_place = not _is_of_torch(phi)  # any other may work in place
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        value: Tensor = phi(z * 1 if in_place else z)  # which a leaf does not bear
        slope = None
        if value.requires_grad:
            one = torch.ones((), dtype=value.dtype, device=value.device).expand_as(value)
            (slope,) = torch.autograd.grad(value, z, one, allow_unused=True)
    return value.detach(), torch.zeros_like(z) if slope is None else slope


_largest_slopes: dict[object, float] = {}


def _largest_slope(phi: nn.Module, z: Tensor) -> Tensor | float:
    """The largest |phi'|; of each unit, and still on the device, where phi is not torch.nn's own.

    NaN where phi is not elementwise on a grid of the units.
    """
    if not isinstance(same := _same(phi), nn.Module):
        if same not in _largest_slopes:
            grid = torch.linspace(-10, 10, _POINTS)
            _largest_slopes[same] = float(_value_and_slope(phi, grid)[1].abs().max())
        return _largest_slopes[same]
    # Pixels share what a channel has; in a sequence either dimension can have parameters.
    inner = z.shape[1:2] + (1,) * (z.ndim - 2) if z.ndim != 3 else z.shape[1:]
    points = max(16, min(_POINTS, _TRIED // math.prod(inner))) // 2 * 2
    grid = torch.linspace(-10, 10, points, device=z.device).view(-1, *(1,) * len(inner))
    grid = grid.expand(-1, *inner).contiguous()
    value, slope = _value_and_slope(phi, grid)
    if value.shape != grid.shape:
        return math.nan
    return _by_unit(slope).abs().amax(dim=0)
