"""Draw training curves: loss and headline metrics over the steps, one line per configuration."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from gradflow.comparison.columns import headlines
from gradflow.comparison.configurations import Configuration
from gradflow.comparison.figures.style import BANDS, Floats, draw_seeds, legend, quiet


def draw_curves(keys: Sequence[str], rows: Sequence[Configuration]) -> Figure:
    """Draw the training metrics in metrics.csv. ValueError if no run has any."""
    figure = Figure(figsize=(10.5, 4.2), layout="constrained")
    metrics = [("train/loss", "train loss", 1.0)]  # metric, label, factor
    for name, percent in headlines([run for row in rows for run in row.runs]):
        unit, factor = (", %", 100.0) if percent else ("", 1.0)
        metrics.append((f"train/{name}", f"train {name}{unit}", factor))
    panels = figure.subplots(1, len(metrics), squeeze=False)[0]
    drawn: list[Configuration] = []
    for axes, (metric, label, factor) in zip(panels, metrics, strict=True):
        drawn = []
        for row in rows:
            found = _over_seeds([run.curve(metric) for run in row.runs])
            if found is not None:
                steps, values = found
                draw_seeds(
                    axes, steps, factor * values, len(drawn), row.name, band=len(rows) <= BANDS
                )
                drawn.append(row)
        axes.set_xlabel("optimizer step")
        axes.set_ylabel(label)
        low, high = axes.dataLim.intervaly
        if low > 0 and high > 10 * low:  # an exploded loss hides all others
            axes.set_yscale("log")
        quiet(axes)
    if not drawn:
        raise ValueError("no run has logged any training metric")
    legend(figure, panels[0], keys, drawn)
    return figure


def _over_seeds(curves: Sequence[tuple[Floats, Floats]]) -> tuple[Floats, Floats] | None:
    """Return the steps of all seeds, (S,), and the values, (seeds, S), NaN where missing."""
    steps = np.unique(np.concatenate([x for x, _ in curves])) if curves else np.empty(0)
    if not len(steps):
        return None
    values = np.full((len(curves), len(steps)), np.nan)
    for i, (x, y) in enumerate(curves):
        values[i, np.searchsorted(steps, x)] = y
    return steps, values
