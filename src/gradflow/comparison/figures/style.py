"""Style the figures of runs alike: colours, lines, legends, and the mean over seeds."""

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

# Okabe & Ito 2008: distinct with every common form of colour blindness. Lines also differ in their
# markers, for print, and in their dashes, once the colours repeat.
COLOURS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_MARKERS = "osD^vP*X"
_DASHES = ("-", "--", ":", "-.")

Floats = NDArray[np.float64]


def line_style(i: int) -> dict[str, Any]:
    """Return the line style of the i-th configuration."""
    return {
        "color": COLOURS[i % len(COLOURS)],
        "marker": _MARKERS[i % len(_MARKERS)],
        "linestyle": _DASHES[i // len(COLOURS) % len(_DASHES)],
        "markersize": 4.0,
        "linewidth": 1.3,
    }


BANDS = 8  # lines; with more, the bands hide one another


def draw_seeds(
    axes: Axes, x: Sequence[int] | Floats, y: Floats, i: int, label: str, *, band: bool
) -> None:
    """Draw the mean over seeds and, with `band`, their range; `y` is (seeds, len(x)).

    Non-finite values are left out of the mean; where no seed has a finite value, there is a gap.
    """
    y = np.where(np.isfinite(y), y, np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # where no seed has a number
        mean, low, high = np.nanmean(y, axis=0), np.nanmin(y, axis=0), np.nanmax(y, axis=0)
    if band and len(y) > 1:
        axes.fill_between(x, low, high, color=COLOURS[i % len(COLOURS)], alpha=0.15, linewidth=0)
    every = max(1, math.ceil(len(mean) / 60))
    axes.plot(x, mean, label=label, markevery=every, alpha=0.9, **line_style(i))


def quiet(axes: Axes) -> None:
    """Make the grid light and hide the upper and right spines."""
    axes.grid(color="#e2e2e2", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def legend(figure: Figure, axes: Axes, keys: Sequence[str], rows: Sequence[Configuration]) -> None:
    """Add a legend beside the axes, in as many columns as it needs."""
    handles, labels = axes.get_legend_handles_labels()
    title = ", ".join(keys)
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
