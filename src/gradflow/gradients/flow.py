"""One record in a few figures: the gradient profile of a step, and what else a verdict asks for.

It knows arrays and the record's columns, and nothing of torch: a table or a page over a hundred
runs need not import it.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from gradflow.gradients.record import is_weight

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Flow:
    """What gradients do in one step. n layers from input to output, the last one the logits.

    Decades are log10; -inf stands for exactly 0 (underflow, dead units), NaN for all else.
    """

    step: int
    loss: float | None  # absolute; None where training never showed it to Lightning
    layers: list[str]
    pre_activation: Floats  # (n,) log10 RMS of z
    gradient: Floats  # (n,) log10 RMS of dL/dz: the gradient profile
    dead: Floats  # (n,) share of dead units
    saturated: Floats  # (n,) share of saturated units
    outputs: int  # number of logits; 0 if unknown
    zeros: float  # share of the elements of dL/dw that are exactly 0
    non_finite: float  # share of the elements of dL/dw that are NaN or Inf
    update_to_weight: Floats  # (weights,) log10 of the norm of the step over the weight's
    mean_loss: float | None = None  # of all batches since the record before; NaN if one's is not
    batches: int = 0  # how many these are

    @cached_property
    def is_finite(self) -> bool:
        """Whether the loss and every z are: before that, nothing else can be judged."""
        known = self.loss is None or math.isfinite(self.loss)
        return known and not np.isnan(self.pre_activation).any()

    @property
    def known_loss(self) -> tuple[float, int] | None:
        """The mean loss and its batches, or else the step's own; None where neither is finite."""
        for loss, batches in ((self.mean_loss, self.batches), (self.loss, 1)):
            if loss is not None and math.isfinite(loss):
                return loss, batches
        return None

    @property
    def first_over_last(self) -> float:
        """Decades between dL/dz of the last nonlinearity and of the first: below 0 if it shrinks.

        The logits are left out: the mean over all pixels stands between them and the layer before.
        """
        if len(self.gradient) < 3:
            return math.nan
        with np.errstate(invalid="ignore"):
            return float(self.gradient[0] - self.gradient[-2])

    @property
    def decades_per_layer(self) -> float:
        """Slope of the profile towards the input, by least squares: below 0 where dL/dz shrinks.

        Without the logits, as in `first_over_last`. -inf where a layer's is exactly 0.
        """
        y = self.gradient[:-1]
        if np.isneginf(y).any():
            return -math.inf
        known = np.isfinite(y)
        if known.sum() < 2:
            return math.nan
        depth = np.arange(len(y))[known]
        depth = depth - depth.mean()
        return -float(depth @ y[known] / (depth @ depth))


def read_flows(record: pl.DataFrame | pl.LazyFrame) -> list[Flow]:
    """Return the flow of every recorded step of `read_gradients`, earliest first."""
    wanted = [
        "elements",
        "dimensions",
        "zeros",
        "nans",
        "infs",
        "norm",
        "rms",
        "max",
        "units",
        "dead",
        "saturated",
    ]
    kinds_wanted = record.lazy().filter(pl.col("kind").is_in(_KINDS))
    rows = kinds_wanted.select("step", "kind", "name", *wanted).collect()
    flows = []
    for step, of_step in rows.partition_by("step", as_dict=True, maintain_order=True).items():
        kinds = of_step.partition_by("kind", as_dict=True, maintain_order=True)
        columns = {str(kind[0]): group.to_dict(as_series=False) for kind, group in kinds.items()}
        if "gradient" in columns:
            flows.append(flow_of(int(step[0]), columns))
    return flows


_KINDS = (
    *("gradient", "weight", "update", "loss", "mean_loss"),
    *("pre_activation", "pre_activation_gradient"),
)


def flow_of(step: int, kinds: Mapping[str, Mapping[str, Any]]) -> Flow:
    """Make the flow of one step from its rows: for each kind its columns, `name` among them."""
    empty: dict[str, Any] = defaultdict(list)
    gradients = kinds.get("gradient", empty)
    z = kinds.get("pre_activation", empty)
    layers = list(z["name"])
    # A parameter that had no gradient has elements, but none of dL/dw, and no counts.
    counted = zip(gradients["elements"], gradients.get("zeros", []), strict=False)
    elements = max(sum(n for n, zeros in counted if zeros is not None), 1)
    of_weights = kinds.get("weight", empty)
    dimensions = of_weights.get("dimensions") or [None] * len(of_weights["name"])
    named = zip(of_weights["name"], dimensions, strict=True)
    weights = [name for name, n in named if is_weight(name, n)]
    update = _by_name(kinds.get("update", empty), "norm", weights)
    weight = _by_name(of_weights, "norm", weights)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = update / weight
    return Flow(
        step=step,
        loss=_loss(kinds, "loss"),
        layers=layers,
        pre_activation=decades(z["rms"]),
        gradient=decades(_by_name(kinds.get("pre_activation_gradient", empty), "rms", layers)),
        dead=_floats(z["dead"]),
        saturated=_floats(z["saturated"]),
        outputs=int(units[-1] or 0) if (units := z.get("units", [])) else 0,
        zeros=_total(gradients.get("zeros", [])) / elements,
        non_finite=sum(_total(gradients.get(bad, [])) for bad in ("nans", "infs")) / elements,
        update_to_weight=decades(ratio),
        mean_loss=_loss(kinds, "mean_loss"),
        batches=int(kinds["mean_loss"]["elements"][0]) if "mean_loss" in kinds else 0,
    )


def _loss(kinds: Mapping[str, Mapping[str, Any]], kind: str) -> float | None:
    return float(_floats(kinds[kind]["max"])[0]) if kind in kinds else None


def _by_name(columns: Mapping[str, Any], column: str, names: Sequence[str]) -> Floats:
    values = dict(zip(columns["name"], columns[column], strict=True))
    return _floats([values.get(name) for name in names])


def _total(counts: Sequence[int | None]) -> int:
    return int(sum(count for count in counts if count is not None))


def decades(values: Sequence[float | None] | Floats) -> Floats:
    """log10 of values that are at least 0: -inf for 0, NaN for None, NaN and Inf."""
    x = _floats(values)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(np.isfinite(x), np.log10(x), np.nan)


def _floats(values: Sequence[float | None] | Floats) -> Floats:
    return np.array([math.nan if value is None else value for value in values], dtype=np.float64)
