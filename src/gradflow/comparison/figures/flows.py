"""Draw every layer's gradient over the steps: one gradient-flow picture per configuration."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.figure import Figure

from gradflow.comparison.configurations import Configuration
from gradflow.gradients.picture import colour_bar, flow_map


def draw_flows(keys: Sequence[str], rows: Sequence[Configuration]) -> Figure:
    """Draw each configuration's gradient-flow picture, all on one scale.

    Takes the first seed that has a record. ValueError if no run has one.
    """
    recorded = [
        (row, flows)
        for row in rows
        if (flows := next(filter(None, (run.flows() for run in row.runs)), None))
        and any(flow.layers for flow in flows)
    ]
    if not recorded:
        raise ValueError("no run has recorded gradients")
    columns = min(3 if len(recorded) < 10 else 5, len(recorded))
    lines = math.ceil(len(recorded) / columns)
    figure = Figure(figsize=(3.2 * columns + 1.4, 2.7 * lines + 0.4), layout="constrained")
    panels = figure.subplots(lines, columns, squeeze=False).flatten()
    for axes, (row, flows) in zip(panels, recorded, strict=False):
        mesh = flow_map(axes, flows)
        axes.set_title(row.name, loc="left", fontsize=10 if columns < 5 else 8)
        if axes not in panels[::columns]:
            axes.set_ylabel("")
    for axes in panels[len(recorded) :]:
        axes.set_axis_off()
    colour_bar(figure, mesh, panels.tolist())
    return figure
