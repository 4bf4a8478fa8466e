"""What may be compared: how z and dL/dz change over the layers of one flow, branches allowed for.

The record has each layer's RMS. Compared as they are, they mislead in four ways:

- With a mean over k pixels between two layers, dL/dz is k times smaller before it, and nothing has
  vanished. With a maximum or a stride, it is sqrt(k) times smaller. Which of them lies between two
  layers is unknown, so that a change counts if it remains whichever it was.
- A normalization between two layers rescales z, and dL/dz inversely. Across it, the relative change
  matters: that of z dL/dz.
- A layer that the signal has a way around cannot show what becomes of it. Layers on every path are
  compared if there are two, else those that are bypassed.
- Of parallel layers, one is enough to pass the signal on: the largest counts.

This file knows flows, and nothing of thresholds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gradflow.gradients.flow import Floats, Flow


@dataclass(frozen=True)
class Ends:
    """The first and the last layers that may be compared, parallel ones together: positions."""

    first: NDArray[np.intp]
    last: NDArray[np.intp]


def ends(flow: Flow) -> Ends | None:
    """Return the layers at the input and at the output; None if fewer than two are comparable."""
    n = len(flow.layers) - 1  # without the logits
    if n < 2:
        return None
    before, behind, bypassed = (_known(flow, c)[:n] for c in ("before", "behind", "bypassed"))
    if np.isnan(before).all():  # an older record
        return Ends(np.array([0]), np.array([n - 1]))
    for kind in (0, 1):
        members = np.flatnonzero(bypassed == kind)
        if len(members) < 2:
            continue
        first = members[before[members] == before[members].min()]
        last = members[behind[members] == behind[members].min()]
        if before[last].max() > before[first].min():
            return Ends(first, np.setdiff1d(last, first))
    return None


def gradient_change(flow: Flow) -> float:
    """Return the decades that dL/dz gains from the last layers back to the first.

    -inf if it is exactly 0 in all first layers, NaN if nothing can be compared.
    """
    if (found := ends(flow)) is None:
        return math.nan
    size = flow.gradient[:-1] + _rescaled(flow)
    positions = _known(flow, "positions")[:-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        pixels = np.nan_to_num(np.log10(positions), posinf=0.0, neginf=0.0)
        changes = [
            _largest(size + share * pixels, found.first)
            - _largest(size + share * pixels, found.last)
            for share in ((0.0,) if np.isnan(positions).any() else (0.5, 1.0))
        ]
    if any(math.isnan(change) for change in changes):
        return math.nan
    if min(changes) < 0 < max(changes):
        return 0.0
    return min(changes, key=abs)


def signal_change(flow: Flow) -> float:
    """Return the decades that z gains from the first layers to the last: < 0 if it shrinks.

    Only since the last normalization, which makes up for any change before it. -inf if z is
    exactly 0 in the last layers, or was so in all of the first.
    """
    if (found := ends(flow)) is None:
        return math.nan
    z = flow.pre_activation[:-1]
    first, last = _largest(z, found.first), _largest(z, found.last)
    if -math.inf in (first, last):
        return -math.inf
    normalized = np.nan_to_num(_known(flow, "normalized")) > 0
    after = int(found.last.max())
    if normalized[after + 1 :].any():
        return 0.0
    resets = np.flatnonzero(normalized[: after + 1])
    if len(resets) and resets[-1] > found.first.min():
        first = float(z[resets[-1]])
    return last - first


def _rescaled(flow: Flow) -> Floats:
    """Return what a normalization between two layers adds to the decades of dL/dz: those of z."""
    normalized = np.nan_to_num(_known(flow, "normalized")[:-1]) > 0
    z = np.nan_to_num(flow.pre_activation[:-1], nan=0.0, posinf=0.0, neginf=0.0)
    steps = np.diff(z, prepend=z[:1])
    return np.cumsum(np.where(normalized, steps, 0.0))


def _largest(values: Floats, members: NDArray[np.intp]) -> float:
    found = values[members]
    return float(np.nanmax(found)) if not np.isnan(found).all() else math.nan


def _known(flow: Flow, column: str) -> Floats:
    return flow.structure.get(column, np.full(len(flow.layers), np.nan))
