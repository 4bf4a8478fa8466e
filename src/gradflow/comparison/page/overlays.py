"""Lines that others draw over the page's profiles, such as what a theory predicts for step 0.

The page knows no theory: conf/ lists import paths of overlays, and each is asked for one line for
each configuration. They are taken from the reader's own conf/ and never from a run's folder.
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
    """log10 RMS by layer, input to output, before the first step; or why there is none."""

    pre_activation: NDArray[np.float64] | None = None
    gradient: NDArray[np.float64] | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Overlay:
    """`name` stands at its check box, `note` below the plot.

    `lines` is given one run of each configuration, or None where none was recorded at step 0, and
    returns as many lines, in the same order.
    """

    name: str
    note: str
    lines: Callable[[Sequence[Run | None]], list[Line]]


def load_overlays(paths: Sequence[str]) -> list[Overlay]:
    """Import what `paths` name. ConfigError for what is no overlay."""
    return [import_named(path, Overlay, "comparison.overlays") for path in paths]
