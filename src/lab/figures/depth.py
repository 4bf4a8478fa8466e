"""How far each remedy reaches: gradients and accuracy over the net's depth.

Drawn for any study with one pathology at most, two remedies and three depths. Beside the remedies
of plain nets without a norm stands the depth to which theory expects them to train.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gradflow.comparison.configurations import Figures
from gradflow.comparison.own_figures import OwnFigure
from gradflow.errors import ConfigError
from gradflow.runs.read import Run
from gradflow.runs.status import ENDED
from lab.figures.matrix import NONE, accuracy

if TYPE_CHECKING:  # take seconds, and most studies need no figure
    from matplotlib.figure import Figure

    from lab.theory.mean_field import MeanField
    from project.config import Config

_known: dict[str, MeanField | None] = {}  # by net, which remedies such as clipping leave alone
Series = dict[str, dict[int, list[Run]]]  # the runs of each remedy and depth


def by_depth(runs: Sequence[Run]) -> Series:
    """Return the ended runs by remedy and `model.depth`, the untreated ones first."""
    found: Series = {}
    for run in runs:
        depth, remedy = run.settings.get("model.depth"), run.axes.get("remedy", NONE)
        if run.state in ENDED and isinstance(depth, int):
            found.setdefault(remedy, {}).setdefault(depth, []).append(run)
    order = sorted(found, key=lambda remedy: remedy != NONE)  # stable
    return {remedy: dict(sorted(found[remedy].items())) for remedy in order}


def mean_field_of(run: Run) -> MeanField | None:
    """Return what theory says of the run's net before the first step; None if nothing."""
    from lab.probe.run import net_key
    from project.config import Config
    from project.train import PROJECT

    try:
        config = Config.check(run.config)
        PROJECT.refuse_foreign_code(config)
        key = net_key(config)
        if key not in _known:
            _known[key] = _of(config)
        return _known[key]
    except (ConfigError, ValueError):
        return None


def _of(config: Config) -> MeanField | None:
    from lab.probe.run import new_net, plain_mean_field
    from lab.remedies.lsuv import is_chosen

    if is_chosen(config):
        return None
    return plain_mean_field(new_net(config))


def trainable_depth(run: Run) -> float | None:
    """Return the depth to which theory expects the run's net to train; None without a theory.

    Six depth scales: Schoenholz et al. 2017 (arXiv:1611.01232).
    """
    found = mean_field_of(run)
    return None if found is None else found.trainable_depth


def draw(runs: Sequence[Run]) -> Figure:
    """Draw decades of dL/dz and training accuracy over depth, a line for each remedy.

    Raises:
        ValueError: unless the runs have one pathology at most, two remedies and three depths.
    """
    series = by_depth(runs)
    depths = sorted({depth for lines in series.values() for depth in lines})
    pathologies = {run.axes.get("pathology", NONE) for run in runs}
    if len(depths) < 3 or len(series) < 2 or len(pathologies) > 1:
        raise ValueError("fewer than three depths or two remedies, or several pathologies")

    from matplotlib.figure import Figure

    from gradflow.comparison.figures.style import line_style, quiet

    figure = Figure(figsize=(10.5, 4.4), layout="constrained")
    gradients, learned = figure.subplots(1, 2)
    for place, (remedy, lines) in enumerate(series.items()):
        style = {**line_style(place), "capsize": 2.5}
        label = "untreated" if remedy == NONE else remedy.replace("+", " + ")
        for axes, values in (
            (gradients, {depth: _decades(found) for depth, found in lines.items()}),
            (learned, {depth: _percent(found) for depth, found in lines.items()}),
        ):
            known = {depth: figures for depth, figures in values.items() if figures.n}
            axes.errorbar(
                list(known),
                [figures.mean or 0.0 for figures in known.values()],
                yerr=[figures.half_width or 0.0 for figures in known.values()],
                label=label,
                **style,
            )
        reach = trainable_depth(next(iter(lines.values()))[0])
        if reach is not None and depths[0] / 2 < reach < 2 * depths[-1]:
            learned.axvline(reach, color=style["color"], linestyle=":", linewidth=1.2)
    gradients.set_ylabel(
        "dL/dz of the first layer over the last's,\ndecades, before the first step"
    )
    learned.set_ylabel("train accuracy, %")
    learned.axhline(10, color="#888888", linewidth=0.8)
    learned.annotate(
        "chance", (depths[0], 10), (0, -6), textcoords="offset points", va="top", fontsize=8
    )
    for axes in (gradients, learned):
        axes.set_xscale("log")
        axes.set_xticks(depths, list(map(str, depths)))
        axes.minorticks_off()
        axes.set_xlabel("weight layers")
        quiet(axes)
    handles, labels = gradients.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside right upper", frameon=False, fontsize=8, title="remedy"
    )
    return figure


def _decades(runs: Sequence[Run]) -> Figures:
    values = [run.first_over_last for run in runs]
    return Figures(tuple(value for value in values if value is not None and math.isfinite(value)))


def _percent(runs: Sequence[Run]) -> Figures:
    found = accuracy(runs).values
    return Figures(tuple(100 * value for value in found if math.isfinite(value)))


DEPTH = OwnFigure(
    "depth",
    "Gradients before the first step, and training accuracy, over the depth of the net; mean and "
    "95 % t-interval over the seeds. Dotted: six depth scales of mean-field theory, the depth to "
    "which it expects a plain net without a norm to train, in the colour of its remedy.",
    draw,
)
