"""What all figures of runs have in common: colours, lines, names, and seeds taken together."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from gradflow.comparison.configurations import Configuration

# Okabe & Ito 2008: told apart with every common form of colour blindness. Lines also differ in
# their markers, for print, and in their dashes, once the colours come round again.
COLOURS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_MARKERS = "osD^vP*X"
_DASHES = ("-", "--", ":", "-.")

Floats = NDArray[np.float64]


def line_style(i: int) -> dict[str, Any]:
    """Return what sets the line of the i-th configuration apart."""
    return {
        "color": COLOURS[i % len(COLOURS)],
        "marker": _MARKERS[i % len(_MARKERS)],
        "linestyle": _DASHES[i // len(COLOURS) % len(_DASHES)],
        "markersize": 4.0,
        "linewidth": 1.3,
    }


BANDS = 8  # lines; more of them and the bands hide one another


def draw_seeds(
    axes: Axes, x: Sequence[int] | Floats, y: Floats, i: int, label: str, *, band: bool
) -> None:
    """Draw the mean over seeds and, with `band`, the range they span; `y` is (seeds, len(x)).

    What is not finite for a seed is no part of its configuration's mean, and a gap where none is.
    """
    y = np.where(np.isfinite(y), y, np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of places where no seed has a number
        mean, low, high = np.nanmean(y, axis=0), np.nanmin(y, axis=0), np.nanmax(y, axis=0)
    if band and len(y) > 1:
        axes.fill_between(x, low, high, color=COLOURS[i % len(COLOURS)], alpha=0.15, linewidth=0)
    every = max(1, math.ceil(len(mean) / 60))
    axes.plot(x, mean, label=label, markevery=every, alpha=0.9, **line_style(i))


def quiet(axes: Axes) -> None:
    """Take away what says nothing."""
    axes.grid(color="#e2e2e2", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def legend(figure: Figure, axes: Axes, words: Sequence[str], rows: Sequence[Configuration]) -> None:
    """Name the lines, beside the axes, in as many columns as they need."""
    handles, labels = axes.get_legend_handles_labels()
    title = ", ".join(words)
    if any(len(row.runs) > 1 for row in rows):
        title += "\n(mean and range of seeds)" if len(rows) <= BANDS else "\n(mean over seeds)"
    figure.legend(
        handles,
        labels,
        title=title,
        loc="outside right upper",
        frameon=False,
        fontsize=8,
        title_fontsize=8,
        ncols=math.ceil(len(labels) / 24),
        alignment="left",
    )
