"""Two charts at a run's end in which runs lie over each other: its profile and its histograms.

W&B has no panel that draws the histograms of several runs into one, and none whose x is a layer. It
has line charts over tables, and here are the tables. This file knows flows and records, and nothing
of W&B's API.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from gradflow.gradients.flow import Flow
from gradflow.gradients.weights_and_biases import EXPONENTS, Chart, exponent_counts

# W&B advises against more than 10000 points in a chart, and one has two lines of each run.
MOST_LAYERS = 500


def profile_chart(flows: Sequence[Flow]) -> Chart | None:
    """Draw log10 RMS of dL/dz over the layers; None if no record has layers.

    Layers are numbered from 1, input to output. Of more than MOST_LAYERS that many are taken,
    evenly spaced, the first and the last among them. What is exactly 0, or no number, is a gap.
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

    Three of them have a column: the first, the middle and the last, which nets of any depth have,
    whatever their names are. What the first and the last bin hold, see `histogram`.
    """
    wanted = (pl.col("kind") == "gradient") & pl.col("name").is_in(list(weights))
    steps = record.filter(wanted).partition_by("step", maintain_order=True)
    rows: list[list[Any]] = []
    for word, of_step in _ends(steps).items():
        places = (0, len(of_step) // 2, len(of_step) - 1)
        shares = [_shares(of_step.row(place, named=True)) for place in places]
        step = of_step["step"][0]
        rows += [[*values, word, step] for values in zip(EXPONENTS, *shares, strict=True)]
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
    """Name the first record and, where it is another one, the last."""
    return dict(zip(("start", "end"), [*records[:1], *records[1:][-1:]], strict=False))


def _shares(row: Mapping[str, Any]) -> list[float | None]:
    """Shares of a parameter's row, one for each of EXPONENTS; None where it had no gradient."""
    if row["bins"] is None:
        return [None] * len(EXPONENTS)
    below, above = row["zeros"] + row["subnormals"], row["infs"] + row["nans"]
    (counts,) = exponent_counts(np.array([row["bins"]]), np.array([below]), np.array([above]))
    return [float(share) for share in counts / row["elements"]]


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
