"""The gradient figures of one step: its profile, and everything else that a verdict needs.

It knows arrays and the record's columns, and nothing of torch, so that a table or a page over a
hundred runs does not import it.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from gradflow.gradients.record import is_weight

Floats = NDArray[np.float64]
# Columns of the record that tell how the layers lie in the net; older records lack them.
STRUCTURE = ("positions", "normalized", "before", "behind", "bypassed")


@dataclass(frozen=True)
class Flow:
    """The gradient figures of one step. n layers from input to output, the last one the logits.

    Decades are log10. -inf means exactly 0 (underflow, dead units), NaN missing or non-finite.
    """

    step: int
    loss: float | None  # None if Lightning never got it
    layers: list[str]
    pre_activation: Floats  # (n,) log10 RMS of z
    gradient: Floats  # (n,) log10 RMS of dL/dz: the gradient profile
    dead: Floats  # (n,) share of dead units
    saturated: Floats  # (n,) share of saturated units
    outputs: int  # number of logits; 0 if unknown
    zeros: float  # share of the elements of dL/dw that are exactly 0
    non_finite: float  # share of the elements of dL/dw that are NaN or Inf
    update_to_weight: Floats  # (weights,) log10 of norm(update) / norm(weight)
    mean_loss: float | None = None  # since the last record; non-finite if any loss is
    chance_loss: float | None = None  # of `term`, else of L; NaN: the module says "unknown"
    term: float | None = None  # the plain loss function within `loss`
    hits: float | None = None  # share of the step's batch that is classified right
    largest_class: float | None = None  # share of the most frequent class so far
    batches: int = 0  # number of batches in `mean_loss`
    loss_deviation: float = math.nan  # standard deviation of one batch's loss in `mean_loss`
    metric: float | None = None  # of the training, as it was logged last; larger is better
    structure: Mapping[str, Floats] = field(default_factory=dict)  # columns of STRUCTURE, each (n,)
    optimizers: int = 1  # with several there is no loss, and layers of several nets

    @cached_property
    def is_finite(self) -> bool:
        """Whether the loss and every z are finite; if not, nothing else can be judged."""
        known = self.loss is None or math.isfinite(self.loss)
        z = (
            self.pre_activation
            if self.outputs or not len(self.layers)
            else self.pre_activation[:-1]
        )
        return known and not np.isnan(z).any()

    @property
    def chance(self) -> float | None:
        """The loss of a net that knows nothing of its input; None if that is not known.

        A module that does not say it is taken for a classifier with one class per logit, whose
        cross-entropy is then the logarithm of their number.
        """
        if self.chance_loss is not None:
            return self.chance_loss if math.isfinite(self.chance_loss) else None
        return math.log(self.outputs) if self.outputs > 1 else None

    @property
    def known_loss(self) -> tuple[float, int] | None:
        """The mean loss and its batches, else the step's loss and 1; None if neither is finite."""
        for loss, batches in ((self.mean_loss, self.batches), (self.loss, 1)):
            if loss is not None and math.isfinite(loss):
                return loss, batches
        return None

    @property
    def first_over_last(self) -> float:
        """Decades of dL/dz in the first nonlinearity over the last: below 0 if it shrinks.

        The logits are left out: the mean over all pixels lies between them and the layer before.
        """
        if len(self.gradient) < 3:
            return math.nan
        with np.errstate(invalid="ignore"):
            return float(self.gradient[0] - self.gradient[-2])

    @property
    def decades_per_layer(self) -> float:
        """Slope of the profile towards the input, by least squares: below 0 if dL/dz shrinks.

        The logits are left out, as in `first_over_last`. -inf if any layer's dL/dz is exactly 0.
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


def together(flows: Sequence[Flow]) -> Flow:
    """Return the last of `flows`, with the mean losses and the accuracy of all of them."""
    last = flows[-1]
    known = [(*flow.known_loss, flow.loss_deviation) for flow in flows if flow.known_loss]
    if len(flows) == 1 or not known:
        return last
    batches = sum(count for _, count, _ in known)
    mean = sum(loss * count for loss, count, _ in known) / batches
    spread = [(loss - mean) ** 2 + np.nan_to_num(deviation) ** 2 for loss, _, deviation in known]
    variance = sum(s * count for s, (_, count, _) in zip(spread, known, strict=True)) / batches
    hits = [flow.hits for flow in flows if flow.hits is not None and math.isfinite(flow.hits)]
    return replace(
        last,
        mean_loss=mean,
        batches=batches,
        loss_deviation=math.sqrt(variance),
        hits=sum(hits) / len(hits) if hits else None,
    )


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
        *STRUCTURE,
        "dead",
        "saturated",
    ]
    kinds_wanted = record.lazy().filter(pl.col("kind").is_in(_KINDS))
    rows = kinds_wanted.select("step", "kind", "name", *wanted).collect()
    flows = []
    for step, step_rows in rows.partition_by("step", as_dict=True, maintain_order=True).items():
        kinds = step_rows.partition_by("kind", as_dict=True, maintain_order=True)
        columns = {str(kind[0]): group.to_dict(as_series=False) for kind, group in kinds.items()}
        if "gradient" in columns:
            flows.append(flow_of(int(step[0]), columns))
    return flows


_KINDS = (
    *("gradient", "weight", "update", "loss", "mean_loss", "metric", "term", "chance_loss"),
    *("hits", "largest_class", "optimizers"),
    *("pre_activation", "pre_activation_gradient"),
)


def flow_of(step: int, kinds: Mapping[str, Mapping[str, Any]]) -> Flow:
    """Compute the flow of one step from its rows: a mapping from kind to columns, with `name`."""
    empty: dict[str, Any] = defaultdict(list)
    gradients = kinds.get("gradient", empty)
    z = kinds.get("pre_activation", empty)
    layers, units = list(z["name"]), list(z.get("units", []))
    missing = [None] * len(layers)
    # A parameter without a gradient has elements but no counts; leave it out.
    counted = zip(gradients["elements"], gradients.get("zeros", []), strict=False)
    elements = max(sum(n for n, zeros in counted if zeros is not None), 1)
    weight_rows = kinds.get("weight", empty)
    dimensions = weight_rows.get("dimensions") or [None] * len(weight_rows["name"])
    named = zip(weight_rows["name"], dimensions, strict=True)
    weights = [name for name, n in named if is_weight(name, n)]
    update = _by_name(kinds.get("update", empty), "norm", weights)
    weight = _by_name(weight_rows, "norm", weights)
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
        # With several optimizers the last layer is one like the others.
        outputs=int(units[-1] or 0) if len(units) and "optimizers" not in kinds else 0,
        zeros=_total(gradients.get("zeros", [])) / elements,
        non_finite=sum(_total(gradients.get(bad, [])) for bad in ("nans", "infs")) / elements,
        update_to_weight=decades(ratio),
        mean_loss=_loss(kinds, "mean_loss"),
        chance_loss=_loss(kinds, "chance_loss"),
        structure={column: _floats(z.get(column, missing)) for column in STRUCTURE},
        optimizers=int(kinds["optimizers"]["elements"][0]) if "optimizers" in kinds else 1,
        batches=int(kinds["mean_loss"]["elements"][0]) if "mean_loss" in kinds else 0,
        loss_deviation=_deviation(kinds["mean_loss"]) if "mean_loss" in kinds else math.nan,
        metric=_loss(kinds, "metric"),
        term=_loss(kinds, "term"),
        hits=_loss(kinds, "hits"),
        largest_class=_loss(kinds, "largest_class"),
    )


def _loss(kinds: Mapping[str, Mapping[str, Any]], kind: str) -> float | None:
    return float(_floats(kinds[kind]["max"])[0]) if kind in kinds else None


def _deviation(mean_loss: Mapping[str, Any]) -> float:
    if "rms" not in mean_loss:  # an older record
        return math.nan
    mean, rms = (float(_floats(mean_loss[column])[0]) for column in ("max", "rms"))
    return math.sqrt(max(rms**2 - mean**2, 0.0)) if math.isfinite(mean + rms) else math.nan


def _by_name(columns: Mapping[str, Any], column: str, names: Sequence[str]) -> Floats:
    values = dict(zip(columns["name"], columns[column], strict=True))
    return _floats([values.get(name) for name in names])


def _total(counts: Sequence[int | None]) -> int:
    return int(sum(count for count in counts if count is not None))


def decades(values: Sequence[float | None] | Floats) -> Floats:
    """Return log10 of values that are at least 0: -inf for 0, NaN for None, NaN and Inf."""
    x = _floats(values)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(np.isfinite(x), np.log10(x), np.nan)


def _floats(values: Sequence[float | None] | Floats) -> Floats:
    return np.array([math.nan if value is None else value for value in values], dtype=np.float64)
