"""The gradient-flow picture: layers down, steps across, colour the size of dL/dz.

All runs share one fixed scale, so that two pictures can be compared side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from gradflow.gradients.flow import Flow
from gradflow.gradients.strip import HIGHEST, LOWEST

if TYPE_CHECKING:  # takes half a second, and only pictures need it
    from matplotlib.axes import Axes
    from matplotlib.collections import QuadMesh
    from matplotlib.figure import Figure

ZERO, NOT_A_NUMBER = "#111111", "#d55e00"  # distinct from viridis, also for the colour-blind


def draw_gradient_flow(flows: Sequence[Flow], title: str = "") -> Figure:
    """Draw one run's flow. ValueError if no record has layers."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    mesh = flow_map(axes, flows)
    axes.set_title(title, loc="left", fontsize=10)
    colour_bar(figure, mesh, [axes])
    return figure


def flow_map(axes: Axes, flows: Sequence[Flow]) -> QuadMesh:
    """Draw the flow into `axes`. ValueError if no record has layers."""
    from matplotlib import colormaps
    from matplotlib.ticker import MaxNLocator

    flows = [flow for flow in flows if flow.layers]
    if not flows:
        raise ValueError("no record has layers")
    layers = max((flow.layers for flow in flows), key=len)
    image = np.full((len(layers), len(flows)), np.nan)
    for column, flow in enumerate(flows):
        image[: len(flow.gradient), column] = flow.gradient
    steps = [flow.step for flow in flows]
    # A record's column reaches to the next record.
    edges = [*steps, steps[-1] + (steps[-1] - steps[-2] if len(steps) > 1 else 1)]
    colours = colormaps["viridis"].with_extremes(under=ZERO, bad=NOT_A_NUMBER)
    values = np.where(np.isneginf(image), LOWEST - 1, np.maximum(image, LOWEST))
    mesh = axes.pcolormesh(
        edges,
        np.arange(len(layers) + 1) + 0.5,
        np.ma.masked_invalid(values),
        cmap=colours,
        vmin=LOWEST,
        vmax=HIGHEST,
    )
    axes.invert_yaxis()
    axes.set_xlabel("step")
    axes.set_ylabel("layer, input at the top")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_facecolor(NOT_A_NUMBER)
    return mesh


def colour_bar(figure: Figure, mesh: QuadMesh, axes: Sequence[Axes]) -> None:
    """Add a colour bar, and a legend for the two colours outside its scale."""
    from matplotlib.patches import Patch

    bar = figure.colorbar(mesh, ax=list(axes), extend="min")
    bar.set_label(r"log$_{10}$ RMS of $\partial L/\partial z$")
    patches = [
        Patch(color=ZERO, label="exactly 0"),
        Patch(color=NOT_A_NUMBER, label="NaN or Inf"),
    ]
    figure.legend(handles=patches, loc="outside lower right", ncols=2, frameon=False, fontsize=8)
