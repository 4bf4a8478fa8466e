"""The probe's two profiles, forward and gradient: measurements, a band and the theory's line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lab.probe.run import Probe
from lab.theory.band import INITIALIZATIONS, Floats, ends

_MEASURED, _THEORY = "#0072b2", "#d55e00"  # Okabe & Ito 2008


def draw_probe(probe: Probe, title: str, path: Path) -> None:
    """Draw log10 RMS of z and of dL/dz by layer to `path`, as PNG, SVG or PDF by its ending."""
    flow, spread, theory = probe.flow, probe.band, probe.prediction
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    forward, gradient = figure.subplots(1, 2)
    _profile(
        forward,
        flow.pre_activation,
        spread.pre_activation,
        None if theory is None else theory.pre_activation,
    )
    forward.set_ylabel(r"log$_{10}$ RMS of $z$")
    _profile(gradient, flow.gradient, spread.gradient, None if theory is None else theory.gradient)
    gradient.set_ylabel(r"log$_{10}$ RMS of $\partial L/\partial z$")
    for axes in (forward, gradient):
        _at_least_a_decade(axes)
    gradient.legend(frameon=False, fontsize=8)
    figure.suptitle(title, x=0.01, ha="left", fontsize=10)
    figure.savefig(path, dpi=160)


def _profile(axes: Axes, measured: Floats, fresh: Floats, predicted: list[float] | None) -> None:
    """Draw what was measured, (L,), over the band of fresh initializations, (n, L)."""
    x = np.arange(1, len(measured) + 1)
    low, high = ends(np.where(np.isfinite(fresh), fresh, np.nan))
    label = f"{INITIALIZATIONS} initializations"
    axes.fill_between(x, low, high, color=_MEASURED, alpha=0.2, linewidth=0, label=label)
    axes.plot(x, measured, "o", color=_MEASURED, markersize=4.5, label="measured")
    if predicted is not None:
        axes.plot(x[: len(predicted)], predicted, color=_THEORY, linewidth=1.6, label="mean field")
    axes.set_xlabel("layer, input to output (the last: logits)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def _at_least_a_decade(axes: Axes) -> None:
    """Show at least a decade, so that a flat profile looks flat and not like noise."""
    low, high = axes.get_ylim()
    if high - low < 1:
        middle = (low + high) / 2
        axes.set_ylim(middle - 0.5, middle + 0.5)
