"""Two nets beside each other: their gradients, untreated and treated, and what both learn.

Drawn for a study of two configurations, one of them untreated.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gradflow.comparison.configurations import configurations
from gradflow.comparison.own_figures import OwnFigure
from gradflow.runs.read import Run
from gradflow.runs.status import ENDED
from lab.figures.matrix import NONE

if TYPE_CHECKING:  # takes a second, and most studies need no figure
    from matplotlib.figure import Figure


def pair(runs: Sequence[Run]) -> tuple[list[Run], list[Run]]:
    """Return the untreated runs and the treated ones.

    Raises:
        ValueError: unless there are both, in one configuration each.
    """
    ended = [run for run in runs if run.state in ENDED and run.headline]
    if len(configurations(ended)[1]) == 2:  # first: reading a large study's records takes long
        recorded = [run for run in ended if run.flows()]
        untreated = [run for run in recorded if run.axes.get("remedy", NONE) == NONE]
        treated = [run for run in recorded if run.axes.get("remedy", NONE) != NONE]
        if untreated and treated:
            return untreated, treated
    raise ValueError("not two configurations, untreated and with one remedy")


def draw(runs: Sequence[Run]) -> Figure:
    """Draw the flow of both sides' first seed, and the headline metric of every seed.

    Raises:
        ValueError: as `pair`.
    """
    before, after = pair(runs)

    import numpy as np
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    from gradflow.comparison.figures.style import COLOURS, quiet
    from gradflow.gradients.picture import colour_bar, flow_map

    figure = Figure(figsize=(11.5, 3.6), layout="constrained")
    left, middle, right = figure.subplots(1, 3, width_ratios=(1, 1, 0.9))
    last = max(run.flows()[-1].step + 1 for run in (*before, *after))
    pathology, remedy = before[0].axes.get("pathology", NONE), after[0].axes["remedy"]
    for axes, sides, name in (
        (left, before, "before" if pathology == NONE else f"before: {pathology}"),
        (middle, after, f"after: {remedy.replace('+', ' + ')}"),
    ):
        flows = sides[0].flows()
        mesh = flow_map(axes, flows)
        if flows[-1].step + 1 < last:
            axes.axvspan(
                flows[-1].step + 1, last, facecolor="#f3f3f3", hatch="//", edgecolor="#c8c8c8"
            )
        axes.set_xlim(0, last)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        axes.set_title(f"{name}\nverdicts: {_verdicts(sides)}", loc="left", fontsize=9)
    middle.set_ylabel("")
    colour_bar(figure, mesh, [left, middle])
    name, percent = before[0].headline or ("", False)
    metric, factor = f"train/{name}", 100 if percent else 1
    highest = 20.0
    for sides, side, colour, dash in (
        (before, "before", COLOURS[2], "--"),
        (after, "after", COLOURS[1], "-"),
    ):
        diverged = sum(run.diverged_at is not None for run in sides)
        text = f"{side} ({diverged} of {len(sides)} diverged)" if diverged else side
        for run in sides:
            steps, values = run.curve(metric)
            right.plot(steps, factor * values, dash, color=colour, linewidth=1.6, label=text)
            text = "_"  # one entry for all seeds
            highest = max([highest, *(factor * values[np.isfinite(values)])])
    if classes := _classes(before[0]):
        right.axhline(100 / classes, color="#888888", linewidth=0.8)
        right.text(last, 96 / classes, "chance", ha="right", va="top", fontsize=8)
    if percent:
        right.set_ylim(0, 1.3 * highest)  # with room for the legend
    right.set_xlim(0, last)
    right.set_xlabel("step")
    right.set_ylabel(f"train {name} of each seed{', %' if percent else ''}")
    right.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    right.legend(frameon=False, fontsize=8, loc="upper left")
    quiet(right)
    return figure


def _classes(run: Run) -> int | None:
    """Return the number of classes, if the run's metric is how many images are classified right."""
    return run.flows()[0].outputs or None if run.headline == ("accuracy", True) else None


def _verdicts(runs: Sequence[Run]) -> str:
    """Return the verdicts and how many seeds have each, the most frequent first."""
    kinds = Counter(run.verdict.kind if run.verdict else "no verdict" for run in runs)
    return ", ".join(f"{kind} {n}/{len(runs)}" for kind, n in kinds.most_common())


BEFORE_AFTER = OwnFigure(
    "before_after",
    "The size of dL/dz in every layer over the steps, of the first seed, untreated and treated, "
    "and the headline metric of every seed in training.",
    draw,
)
