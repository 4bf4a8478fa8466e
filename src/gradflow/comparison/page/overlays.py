"""Overlays: lines over the page's profiles, such as a theory's prediction for step 0.

The page knows no theory: conf/ lists import paths of overlays, and each returns one line for each
configuration. The paths come from the reader's own conf/, never from a run's folder.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gradflow.runs.config import import_named
from gradflow.runs.read import Run


@dataclass(frozen=True)
class Line:
    """log10 RMS by layer, input to output, before the first step; or the reason for no line."""

    pre_activation: NDArray[np.float64] | None = None
    gradient: NDArray[np.float64] | None = None
    reason: str | None = None
    # From the least to the largest that is to be expected of single runs: (2, layers).
    pre_activation_band: NDArray[np.float64] | None = None
    gradient_band: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class Overlay:
    """A set of lines: `name` labels its check box, `note` is shown below the plot.

    `lines` takes one run of each configuration, or None if none was recorded at step 0. It returns
    as many lines, in the same order.
    """

    name: str
    note: str
    lines: Callable[[Sequence[Run | None]], list[Line]]


def load_overlays(paths: Sequence[str]) -> list[Overlay]:
    """Import the overlays at `paths`. ConfigError if one cannot be imported or is no Overlay."""
    return [import_named(path, Overlay, "comparison.overlays") for path in paths]
