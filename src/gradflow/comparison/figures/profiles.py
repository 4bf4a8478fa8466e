"""Draw every layer's gradient before the first step, one line per configuration."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from gradflow.comparison.configurations import Configuration
from gradflow.comparison.figures.style import BANDS, draw_seeds, legend, quiet


def draw_profiles(keys: Sequence[str], rows: Sequence[Configuration]) -> Figure:
    """Draw log10 RMS of dL/dz by layer, input to output, at step 0.

    A layer whose gradient is exactly 0 or non-finite is a gap. ValueError if no run has a record.
    """
    figure = Figure(figsize=(8, 4.6), layout="constrained")
    axes = figure.subplots()
    drawn: list[Configuration] = []
    for row in rows:
        flows = [flow for run in row.runs if (flow := run.flow(step=0)) is not None and flow.layers]
        depth = max((len(flow.gradient) for flow in flows), default=0)
        profiles = [flow.gradient for flow in flows if len(flow.gradient) == depth]
        if profiles:
            draw_seeds(
                axes,
                range(1, depth + 1),
                np.stack(profiles),
                len(drawn),
                row.name,
                band=len(rows) <= BANDS,
            )
            drawn.append(row)
    if not drawn:
        raise ValueError("no run has gradients recorded at step 0")
    axes.set_xlabel("layer, input to output")
    axes.set_ylabel("log$_{10}$ RMS of $\\partial L/\\partial z$, before the first step")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    quiet(axes)
    legend(figure, axes, keys, drawn)
    return figure
