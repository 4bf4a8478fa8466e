"""Make the two W&B charts of a run's end, which overlay several runs: profile and histograms.

W&B has no panel that overlays the histograms of several runs, and none whose x is a layer. It has
line charts of tables, so this file makes the tables. It knows flows and records, and nothing of
W&B's API.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from gradflow.gradients.flow import Flow
from gradflow.gradients.weights_and_biases import EXPONENTS, Chart, exponent_counts

# W&B advises against more than 10000 points in a chart; each run has two lines.
MOST_LAYERS = 500


def profile_chart(flows: Sequence[Flow]) -> Chart | None:
    """Draw log10 RMS of dL/dz over the layers; None if no record has layers.

    Layers are numbered from 1, input to output. If there are more than MOST_LAYERS, that many are
    taken, evenly spaced, with the first and the last. Exactly 0 and non-finite values are gaps.
    """
    rows: list[list[Any]] = []
    for record, flow in _ends([flow for flow in flows if flow.layers]).items():
        layers = len(flow.layers)
        for i in np.linspace(0, layers - 1, min(layers, MOST_LAYERS)).round().astype(int).tolist():
            gradient, z = _finite(flow.gradient[i]), _finite(flow.pre_activation[i])
            rows.append([i + 1, gradient, z, flow.layers[i], record, flow.step])
    if not rows:
        return None
    return Chart(
        "gradient_profile",
        "log10 RMS of dL/dz by layer, input to output",
        x="layer",
        y="log10_gradient",
        columns=["layer", "log10_gradient", "log10_pre_activation", "name", "record", "step"],
        rows=rows,
    )


def histogram_chart(record: pl.DataFrame, weights: Sequence[str]) -> Chart | None:
    """Draw the share of |dL/dw| in each power of two; None if `record` has none of `weights`.

    Only the first, the middle and the last weight have a column, since nets of any depth have
    these. See `histogram` in `weights_and_biases.py` for the first and the last bin.
    """
    wanted = (pl.col("kind") == "gradient") & pl.col("name").is_in(list(weights))
    steps = record.filter(wanted).partition_by("step", maintain_order=True)
    rows: list[list[Any]] = []
    for label, step_rows in _ends(steps).items():
        places = (0, len(step_rows) // 2, len(step_rows) - 1)
        shares = [_shares(step_rows.row(place, named=True)) for place in places]
        step = step_rows["step"][0]
        rows += [[*values, label, step] for values in zip(EXPONENTS, *shares, strict=True)]
    if not rows:
        return None
    return Chart(
        "gradient_histogram",
        "share of dL/dw of the first weight with exponent log2 abs(dL/dw)",
        x="exponent",
        y="first",
        columns=["exponent", "first", "middle", "last", "record", "step"],
        rows=rows,
    )


def _ends(records: Sequence[Any]) -> dict[str, Any]:
    """Map "start" to the first record and "end" to the last, if that is another one."""
    return dict(zip(("start", "end"), [*records[:1], *records[1:][-1:]], strict=False))


def _shares(row: Mapping[str, Any]) -> list[float | None]:
    """Return a row's share for each of EXPONENTS; None for all if it had no gradient."""
    if row["bins"] is None:
        return [None] * len(EXPONENTS)
    below, above = row["zeros"] + row["subnormals"], row["infs"] + row["nans"]
    (counts,) = exponent_counts(np.array([row["bins"]]), np.array([below]), np.array([above]))
    return [float(share) for share in counts / row["elements"]]


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
