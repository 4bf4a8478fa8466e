"""The probe's two profiles, forward and gradient, with the theory's line over the measurements."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lab.probe import Probe

_MEASURED, _THEORY = "#0072b2", "#d55e00"  # Okabe & Ito 2008


def draw_probe(probe: Probe, title: str, path: Path) -> None:
    """Draw log10 RMS of z and of dL/dz by layer to `path`, as PNG, SVG or PDF by its ending."""
    flow, theory = probe.flow, probe.prediction
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    forward, gradient = figure.subplots(1, 2)
    predicted = None if theory is None else theory.pre_activation
    _profile(forward, flow.pre_activation.tolist(), predicted)
    forward.set_ylabel(r"log$_{10}$ RMS of $z$")
    _profile(gradient, flow.gradient.tolist(), None if theory is None else theory.gradient)
    gradient.set_ylabel(r"log$_{10}$ RMS of $\partial L/\partial z$")
    if probe.batch_norm_slope is not None:
        _rate(gradient, flow.gradient.tolist()[:-1], probe.batch_norm_slope)
    for axes in (forward, gradient):
        _at_least_a_decade(axes)
    gradient.legend(frameon=False, fontsize=8)
    figure.suptitle(title, x=0.01, ha="left", fontsize=10)
    figure.savefig(path, dpi=160)


def _profile(axes: Axes, measured: Sequence[float], predicted: Sequence[float] | None) -> None:
    x = np.arange(1, len(measured) + 1)
    axes.plot(x, measured, "o", color=_MEASURED, markersize=4.5, label="measured")
    if predicted is not None:
        axes.plot(x[: len(predicted)], predicted, color=_THEORY, linewidth=1.6, label="mean field")
    axes.set_xlabel("layer, input to output (the last: logits)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def _rate(axes: Axes, measured: Sequence[float], slope: float) -> None:
    """Draw a line of the predicted slope through the last measured layer."""
    n = len(measured)
    line = [measured[-1] + slope * (n - 1 - i) for i in range(n)]
    label = f"rate under batch norm: {slope:.3f} a layer"
    axes.plot(np.arange(1, n + 1), line, "--", color=_THEORY, linewidth=1.6, label=label)


def _at_least_a_decade(axes: Axes) -> None:
    """Show at least a decade, so that a flat profile looks flat and not like noise."""
    low, high = axes.get_ylim()
    if high - low < 1:
        middle = (low + high) / 2
        axes.set_ylim(middle - 0.5, middle + 0.5)
