"""Two nets beside each other: their gradients, untreated and treated, and what both learn.

Drawn for a study of two configurations, one of them untreated.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gradflow.comparison.own_figures import OwnFigure
from gradflow.runs.read import Run
from gradflow.runs.status import ENDED
from lab.matrix import NONE

if TYPE_CHECKING:  # takes a second, and most studies need no figure
    from matplotlib.figure import Figure


def pair(runs: Sequence[Run]) -> tuple[list[Run], list[Run]]:
    """Return the untreated runs and the treated ones.

    Raises:
        ValueError: unless there are both, with one pathology and one remedy.
    """
    ended = [run for run in runs if run.state in ENDED and run.flows()]
    untreated = [run for run in ended if run.axes.get("remedy", NONE) == NONE]
    treated = [run for run in ended if run not in untreated]
    kinds = {(run.axes.get("pathology", NONE), run.axes.get("remedy", NONE)) for run in ended}
    if len(kinds) != 2 or not untreated or len({pathology for pathology, _ in kinds}) != 1:
        raise ValueError("not one pathology, untreated and with one remedy")
    return untreated, treated


def draw(runs: Sequence[Run]) -> Figure:
    """Draw the flow of both sides' first seed, and the training accuracy of every seed.

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
    last = max(run.flows()[-1].step + 1 for run in runs if run.flows())
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
        axes.set_title(f"{name}\nverdict: {_verdicts(sides)}", loc="left", fontsize=9)
    middle.set_ylabel("")
    colour_bar(figure, mesh, [left, middle])
    highest = 0.2
    for sides, name, colour, dash in (
        (before, "before", COLOURS[2], "--"),
        (after, "after", COLOURS[1], "-"),
    ):
        diverged = sum(run.diverged_at is not None for run in sides)
        text = f"{name} ({diverged} of {len(sides)} diverged)" if diverged else name
        for run in sides:
            steps, values = run.curve("train/accuracy")
            right.plot(steps, 100 * values, dash, color=colour, linewidth=1.6, label=text)
            text = "_"  # one entry for all seeds
            highest = max([highest, *values[np.isfinite(values)]])
    right.axhline(10, color="#888888", linewidth=0.8)
    right.text(last, 9.6, "chance", ha="right", va="top", fontsize=8)
    right.set(xlim=(0, last), ylim=(0, 130 * highest))  # a third of it for the legend
    right.set_xlabel("step")
    right.set_ylabel("train accuracy of each seed, %")
    right.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    right.legend(frameon=False, fontsize=8, loc="upper left")
    quiet(right)
    return figure


def _verdicts(runs: Sequence[Run]) -> str:
    """Return the verdicts and how many seeds have each, the most frequent first."""
    kinds = Counter(run.verdict.kind if run.verdict else "no verdict" for run in runs)
    return ", ".join(f"{kind} ({n} of {len(runs)} seeds)" for kind, n in kinds.most_common())


BEFORE_AFTER = OwnFigure(
    "before_after",
    "The size of dL/dz in every layer over the steps, of the first seed, untreated and treated, "
    "and the training accuracy of every seed.",
    draw,
)
