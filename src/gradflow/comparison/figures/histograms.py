"""Draw gradient histograms before the first step as ridgelines, on log2 bins shared by all runs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MultipleLocator

from gradflow.comparison.configurations import Configuration
from gradflow.comparison.figures.style import Floats
from gradflow.gradients.histogram import BINS, FIRST_EXPONENT
from gradflow.gradients.record import is_weight, scan_gradients
from gradflow.runs.read import Run

_HEIGHT = 6.0  # height of a share of 1, in distances between ridges; the same in every panel
_INK, _AREA = "#1b1b1b", "#8fc3e0"


def draw_layers(keys: Sequence[str], rows: Sequence[Configuration]) -> Figure:
    """Draw a panel for each configuration, and in it a ridge for each weight, input at the top.

    Takes the first seed that has a record. ValueError if no run has one.
    """
    recorded = [(row, shares) for row in rows if (shares := _configuration_shares(row))]
    if not recorded:
        raise ValueError("no run has gradients recorded at step 0")
    columns = min(4 if len(recorded) < 10 else 5, len(recorded))
    lines = math.ceil(len(recorded) / columns)
    deepest = max(len(shares) for _, shares in recorded)
    height = max(1.6, min(0.12 * deepest + 0.6, 5.0))
    figure = Figure(figsize=(2.4 * columns + 0.6, height * lines + 0.5), layout="constrained")
    panels = figure.subplots(lines, columns, squeeze=False).flatten()
    for axes, (row, shares) in zip(panels, recorded, strict=False):
        _ridges(axes, list(shares.values()))
        axes.set_title(row.name, loc="left", fontsize=9)
        if axes in panels[::columns]:
            axes.set_ylabel("weight, input at the top", fontsize=8)
        axes.set_yticks([0, len(shares) - 1], ["1", str(len(shares))], fontsize=7)
    for axes in panels[len(recorded) :]:
        axes.set_axis_off()
    _share_exponents(panels[: len(recorded)].tolist(), [s for _, s in recorded])
    figure.supxlabel(r"$|\partial L/\partial w|$ before the first step, log$_2$ bins", fontsize=9)
    return figure


def draw_across(keys: Sequence[str], rows: Sequence[Configuration]) -> Figure:
    """Draw one ridge for each configuration: the gradient of its first weight.

    Takes the first seed that has a record. ValueError if no run has one.
    """
    recorded = [(row, shares) for row in rows if (shares := _configuration_shares(row))]
    if not recorded:
        raise ValueError("no run has gradients recorded at step 0")
    figure = Figure(figsize=(6.4, 0.32 * len(recorded) + 1.4), layout="constrained")
    axes = figure.subplots()
    _ridges(axes, [next(iter(shares.values())) for _, shares in recorded])
    axes.set_yticks(range(len(recorded)), [row.name for row, _ in recorded], fontsize=8)
    axes.set_xlabel(
        r"$|\partial L/\partial w|$ of the first weight, before the first step, log$_2$ bins"
    )
    _share_exponents([axes], [{"": next(iter(shares.values()))} for _, shares in recorded])
    return figure


def _configuration_shares(row: Configuration) -> dict[str, Floats]:
    return next(filter(None, map(_run_shares, row.runs)), {})


def _run_shares(run: Run) -> dict[str, Floats]:
    """Return, by weight, the share of its elements in each bin at step 0, (BINS,)."""
    wanted = (pl.col("step") == 0) & (pl.col("kind") == "gradient")
    try:
        rows = scan_gradients(run.folder).filter(wanted & pl.col("bins").is_not_null())
        record = rows.select("name", "dimensions", "elements", "bins").collect()
    except (OSError, pl.exceptions.PolarsError):
        return {}
    return {
        name: np.array(bins) / elements
        for name, dimensions, elements, bins in record.iter_rows()
        if is_weight(name, dimensions)
    }


def _ridges(axes: Axes, shares: Sequence[Floats]) -> None:
    x = FIRST_EXPONENT + np.arange(BINS) + 0.5  # the middle of a bin
    for i, share in enumerate(shares):  # lower ridges cover upper ones
        y = i - _HEIGHT * share
        axes.fill_between(x, i, y, color=_AREA, linewidth=0, zorder=i)
        axes.plot(x, y, color=_INK, linewidth=0.7, zorder=i)
    highest = max(_HEIGHT * float(share.max()) - i for i, share in enumerate(shares))
    axes.set_ylim(len(shares) - 0.6, -highest - 0.2)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda e, _: f"$2^{{{int(e)}}}$"))
    axes.tick_params(axis="x", labelsize=7)


def _share_exponents(panels: Sequence[Axes], shares: Sequence[dict[str, Floats]]) -> None:
    """Give all panels the same x axis: the range of exponents that any ridge fills."""
    used = np.sum([share > 0 for run in shares for share in run.values()], axis=0).nonzero()[0]
    low, high = (used[0], used[-1] + 1) if len(used) else (0, BINS)
    for axes in panels:
        axes.set_xlim(FIRST_EXPONENT + low - 1, FIRST_EXPONENT + high + 1)
        axes.xaxis.set_major_locator(MultipleLocator(10 if high - low < 45 else 20))
