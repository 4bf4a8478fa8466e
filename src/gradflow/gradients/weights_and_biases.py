"""What this project logs to Weights & Biases beyond Lightning's WandbLogger.

It is given runs that are open: `training/wandb_run.py` opens and closes them.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # half a second that only runs with W&B should pay
    import wandb
    from lightning.pytorch.loggers import Logger, WandbLogger
    from matplotlib.figure import Figure

    from gradflow.gradients.flow import Flow
    from gradflow.gradients.snapshot import Rows
    from gradflow.gradients.verdict import Verdict

# The key under which the histograms of a kind of row stand: what wandb.watch's users know.
_HISTOGRAMS = {
    "gradient": "gradients",
    "weight": "weights",
    "pre_activation": "pre_activations",
    "activation": "activations",
}

# The exponents that W&B shows one by one. All of float32's range downward, where gradients vanish,
# and up to 2^24, by when a run has exploded. The run's own record has every bin.
_FIRST_EXPONENT, _LAST_EXPONENT = -126, 23
_EDGES = list(range(_FIRST_EXPONENT - 1, _LAST_EXPONENT + 3))  # integers: short in JSON
EXPONENTS = _EDGES[:-1]


@dataclass(frozen=True)
class Chart:
    """Column `y` of a table over its column `x`; a line for each word in the column "record"."""

    key: str
    title: str
    x: str
    y: str
    columns: list[str]
    rows: list[list[Any]] = field(repr=False)


def histogram(
    bins: NDArray[np.int64], zeros_and_subnormals: int, infs_and_nans: int
) -> wandb.Histogram:
    """A log2 histogram with one fixed axis: the exponent e of 2^e <= |x| < 2^(e+1).

    `bins` counts the exponents -126 … 127, shape (254,). The first bin of the result, e = -127,
    holds zeros and subnormal numbers; the last, e = 24, holds everything from 2^24 on, Inf and NaN
    included. So nothing is dropped, and the counts add up to the number of elements.
    """
    below, above = np.array([zeros_and_subnormals]), np.array([infs_and_nans])
    return _histograms(bins[None], below, above)[0]


def _histograms(
    bins: NDArray[np.int64], below: NDArray[np.int64], above: NDArray[np.int64]
) -> list[wandb.Histogram]:
    """Make n histograms at once: what of it goes into lists does so in one call."""
    import wandb

    counts = exponent_counts(bins, below, above).tolist()
    # W&B takes lists as they are, and makes them of arrays; its types know of arrays alone.
    return [wandb.Histogram(np_histogram=(of_one, _EDGES)) for of_one in counts]  # type: ignore[arg-type]


def exponent_counts(
    bins: NDArray[np.int64], below: NDArray[np.int64], above: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the counts of n histograms: a row each, with a column for each of EXPONENTS."""
    shown = _LAST_EXPONENT - _FIRST_EXPONENT + 1
    above = above + bins[:, shown:].sum(axis=1)
    return np.column_stack([below, bins[:, :shown], above])


def log_record(loggers: Sequence[Logger], step: int, rows: Sequence[Rows], flow: Flow) -> None:
    """Log one gradient record, in one call to each WandbLogger among `loggers`.

    `gradients/<parameter>`, and on request `weights/…`, `pre_activations/…` and `activations/…`:
    histograms. `gradient_flow/…`: the figures of `flow` in which whole runs compare. What is not a
    finite number is left out: a chart has no place for it.
    """
    wandb_loggers = _of_wandb(loggers)
    if not wandb_loggers:
        return
    values: dict[str, Any] = {}
    for of_kind in rows:
        columns, key = of_kind.columns, _HISTOGRAMS.get(of_kind.kind)
        if key is None or "bins" not in columns:
            continue
        below = columns["zeros"] + columns["subnormals"]
        above = columns["infs"] + columns["nans"]
        for entry, made in zip(
            of_kind.entries, _histograms(columns["bins"], below, above), strict=True
        ):
            values[f"{key}/{entry.name}"] = made
    figures = {
        "first_over_last": flow.first_over_last,  # decades
        "decades_per_layer": flow.decades_per_layer,
        "zeros": flow.zeros,  # share of dL/dw
        "non_finite": flow.non_finite,
        "dead_units": _largest(flow.dead),  # share, in the layer that has most
        "saturated_units": _largest(flow.saturated),
        "update_to_weight": _median(flow.update_to_weight),  # log10, over the weights
    }
    values |= {f"gradient_flow/{k}": v for k, v in figures.items() if math.isfinite(v)}
    for logger in wandb_loggers:
        _keep_from_summary(
            logger.experiment, [k for k in values if not k.startswith("gradient_flow")]
        )
        logger.log_metrics(values, step=step)


def _keep_from_summary(run: wandb.Run, histograms: Sequence[str]) -> None:
    """Say once of each histogram that its latest value is no figure of the whole run.

    A histogram is three keys to W&B. A pattern such as `gradients/*` would not do: of the patterns
    that match a key W&B takes any, and Lightning has defined `*`.
    """
    known = _kept_from_summary.setdefault(run, set())
    for key in histograms:
        if key not in known:
            known.add(key)
            escaped = key.replace(".", r"\.")  # a plain dot leads into a nested value
            for part in ("_type", "bins", "values"):
                run.define_metric(f"{escaped}.{part}", summary="none")


_kept_from_summary: WeakKeyDictionary[wandb.Run, set[str]] = WeakKeyDictionary()


def log_verdict(loggers: Sequence[Logger], verdict: Verdict, *, alert: bool) -> None:
    """Put the verdict into the summary of every W&B run, and tell its owner with `alert`."""
    for logger in _of_wandb(loggers):
        run = logger.experiment
        run.summary["verdict"] = verdict.kind
        run.summary["verdict_evidence"] = verdict.evidence
        if alert:
            advice = f"Try: {'; '.join(verdict.remedies)}" if verdict.remedies else ""
            run.alert(verdict.kind, f"{verdict.evidence} (step {verdict.step}). {advice}")


def log_picture(loggers: Sequence[Logger], step: int, draw: Callable[[], Figure]) -> None:
    """Log what `draw` draws, if W&B is to have it, as the image `gradient_flow_map`."""
    wandb_loggers = _of_wandb(loggers)
    if not wandb_loggers:
        return
    import PIL.Image
    import wandb

    with io.BytesIO() as png:
        draw().savefig(png, format="png", dpi=110)
        png.seek(0)
        with PIL.Image.open(png) as image:
            picture = wandb.Image(image)
    for logger in wandb_loggers:
        logger.log_metrics({"gradient_flow_map": picture}, step=step)  # type: ignore[dict-item]


def log_charts(loggers: Sequence[Logger], step: int, make: Callable[[], Sequence[Chart]]) -> None:
    """Log what `make` makes, if W&B is to have it: line charts, all in one call.

    Each is a table, under its key and `_table`, and a panel that W&B shows by itself, in which the
    lines of several runs lie over each other, a colour a run.
    """
    wandb_loggers = _of_wandb(loggers)
    if not wandb_loggers:
        return
    import wandb

    charts = make()
    for logger in wandb_loggers:
        values: dict[str, Any] = {}
        for chart in charts:
            table = wandb.Table(columns=[*chart.columns], data=chart.rows)
            # As a file of the run. Of a table that is none yet W&B makes an artifact too, for which
            # it asks the server, and a server that is away would end the run.
            table.bind_to_run(logger.experiment, f"{chart.key}_table", step)  # type: ignore[no-untyped-call]
            values[chart.key] = wandb.plot.line(table, chart.x, chart.y, "record", chart.title)
        if values:
            logger.log_metrics(values, step=step)


def _of_wandb(loggers: Sequence[Logger]) -> list[WandbLogger]:
    from lightning.pytorch.loggers import WandbLogger

    return [logger for logger in loggers if isinstance(logger, WandbLogger)]


def _largest(shares: NDArray[np.float64]) -> float:
    known = shares[np.isfinite(shares)]
    return float(known.max()) if len(known) else math.nan


def _median(values: NDArray[np.float64]) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else math.nan
