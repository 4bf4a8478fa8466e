"""Pictures of a study, run beside run: every layer's gradient at the start, and over the steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from gradflow.comparison.runs import Run
from gradflow.comparison.table import differing_axes, value_of
from gradflow.gradients.flow import Flow
from gradflow.gradients.picture import colour_bar, flow_map

# Okabe & Ito 2008: told apart with every common form of colour blindness. Lines also differ in
# their markers, for print.
_COLOURS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_MARKERS = "osD^vP*X"


def draw_profiles(runs: Sequence[Run], path: Path) -> None:
    """Draw log10 RMS of dL/dz per layer, input to output, at step 0; PNG or SVG by `path`'s ending.

    Runs of one configuration with several seeds share a colour; only the first is in the legend.
    A layer whose gradient is exactly 0, or not finite, is a gap. ValueError if no run has a record.
    """
    flows = [(run, run.flow(step=0)) for run in runs]
    recorded = [(run, flow.gradient) for run, flow in flows if flow is not None and flow.layers]
    if not recorded:
        raise ValueError("no run has gradients recorded at step 0")
    keys = [key for key in differing_axes(runs) if key != "seed"] or ["remedy"]
    figure = Figure(figsize=(8, 4.6), layout="constrained")
    axes = figure.subplots()
    styles: dict[str, int] = {}
    for run, profile in recorded:
        label = ", ".join(value_of(run, key) for key in keys)
        known = label in styles
        style = styles.setdefault(label, len(styles))
        values = [value if math.isfinite(value) else math.nan for value in profile]
        axes.plot(
            range(1, len(values) + 1),
            values,
            color=_COLOURS[style % len(_COLOURS)],
            marker=_MARKERS[style % len(_MARKERS)],
            markersize=4.5,
            linewidth=1.4,
            alpha=0.85,
            label=None if known else label,
        )
    axes.set_xlabel("layer, input to output")
    axes.set_ylabel("log$_{10}$ RMS of $\\partial L/\\partial z$, before the first step")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(title=", ".join(keys), loc="outside right upper", frameon=False)
    figure.savefig(path, dpi=160)


def draw_flows(runs: Sequence[Run], path: Path, columns: int = 3) -> None:
    """Draw each configuration's gradient-flow picture, all on one scale.

    Of several seeds, the first. PNG or SVG by `path`'s ending. ValueError if no run has a record.
    """
    keys = [key for key in differing_axes(runs) if key != "seed"] or ["remedy"]
    recorded: dict[str, list[Flow]] = {}
    for run in runs:
        label = ", ".join(value_of(run, key) for key in keys)
        flows = [] if label in recorded else [flow for flow in run.flows() if flow.layers]
        if flows:
            recorded[label] = flows
    if not recorded:
        raise ValueError("no run has recorded gradients")
    columns = min(columns, len(recorded))
    rows = math.ceil(len(recorded) / columns)
    figure = Figure(figsize=(3.2 * columns + 1.4, 2.7 * rows + 0.4), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes, (label, flows) in zip(panels, recorded.items(), strict=False):
        mesh = flow_map(axes, flows)
        axes.set_title(label, loc="left", fontsize=10)
        if axes not in panels[::columns]:
            axes.set_ylabel("")
    for axes in panels[len(recorded) :]:
        axes.set_axis_off()
    colour_bar(figure, mesh, panels.tolist())
    figure.savefig(path, dpi=160)
