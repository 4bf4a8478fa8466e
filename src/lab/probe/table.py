"""The probe in the terminal: both profiles as a table, the theory as text, the verdict."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from gradflow.gradients.strip import strip
from lab.probe.run import Probe
from lab.theory.band import INITIALIZATIONS, Floats, ends

_SHOWN = 0.01  # decades
_ROWS = 24  # a deeper net shows as many layers, evenly spaced


def print_probe(probe: Probe, console: Console | None = None) -> None:
    """Print the measurements and, if there is a theory, its predictions."""
    console = console or Console()
    say = partial(console.print, markup=False, soft_wrap=True, highlight=False)
    flow, theory = probe.flow, probe.prediction
    table = Table(header_style="bold", title="log10 RMS", title_justify="left")
    table.add_column("layer")
    kinds = ("measured", "mean field") if theory is not None else ("measured",)
    for quantity in ("z", "dL/dz"):
        for kind in kinds:
            table.add_column(f"{quantity}\n{kind}", justify="right")
    for i in _spread(len(flow.layers)):
        z, g = [flow.pre_activation[i]], [flow.gradient[i]]
        if theory is not None:
            z.append(theory.pre_activation[i] if i < len(theory.pre_activation) else math.nan)
            g.append(theory.gradient[i])
        table.add_row(escape(flow.layers[i]), *map(_number, z), *map(_number, g))
    console.print(table)
    if theory is not None:
        z_error = _largest(flow.pre_activation.tolist()[:-1], theory.pre_activation)
        g_error = _largest(flow.gradient.tolist(), theory.gradient)
        say(f"largest error over the layers, decades: z {z_error}, dL/dz {g_error}")
    spread = probe.band
    z_inside = _inside(flow.pre_activation, spread.pre_activation)
    g_inside = _inside(flow.gradient, spread.gradient)
    say(
        f"within the band of {INITIALIZATIONS} initializations: z {z_inside}, dL/dz {g_inside} "
        f"of {len(flow.layers)} layers"
    )
    if (mean_field := probe.mean_field) is not None:
        say(
            f"sigma_w^2 = {mean_field.weight_variance:.3g}, "
            f"sigma_b^2 = {mean_field.bias_variance:.3g}: {mean_field}"
        )
        if math.isfinite(mean_field.depth_scale):
            say(
                f"depth scale {mean_field.depth_scale:.1f} layers; as a guide, trainable to about "
                f"{mean_field.trainable_depth:.0f} (six of them, Schoenholz et al. 2017)"
            )
    elif probe.no_theory is not None:
        say(f"no prediction: {probe.no_theory}")
    say(f"gradient {strip(flow.gradient.tolist())} {probe.verdict}")


def _spread(n: int) -> list[int]:
    rows = min(n, _ROWS)
    return sorted({round(i * (n - 1) / max(rows - 1, 1)) for i in range(rows)})


def _number(value: float) -> str:
    if math.isfinite(value):
        return f"{value:+.2f}"
    return "exactly 0" if value == -math.inf else ""


def _inside(measured: Floats, profiles: Floats) -> int:
    """Count the layers inside the band, to the 0.01 decades that the table shows."""
    low, high = ends(profiles)
    return int(((low <= measured + _SHOWN / 2) & (measured - _SHOWN / 2 <= high)).sum())


def _largest(measured: Sequence[float], predicted: Sequence[float]) -> str:
    """Format the largest error, and how many layers were left out as 0 or non-finite."""
    errors = [abs(a - b) for a, b in zip(measured, predicted, strict=True)]
    finite = [error for error in errors if math.isfinite(error)]
    largest = f"{max(finite):.2f}" if finite else "-"
    left_out = len(errors) - len(finite)
    return f"{largest} ({left_out} left out: 0 or non-finite)" if left_out else largest
