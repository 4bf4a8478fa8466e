"""Log histograms, verdicts, pictures and charts of gradients to Weights & Biases.

The runs must be open: `runs/wandb_run.py` opens and closes them.
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

if TYPE_CHECKING:  # takes half a second, and only runs with W&B need it
    import wandb
    from lightning.pytorch.loggers import Logger, WandbLogger
    from matplotlib.figure import Figure

    from gradflow.gradients.flow import Flow
    from gradflow.gradients.snapshot import Rows
    from gradflow.gradients.verdict import Verdict

# From a kind of row to the key of its histograms, in the style of wandb.watch.
_HISTOGRAMS = {
    "gradient": "gradients",
    "weight": "weights",
    "pre_activation": "pre_activations",
    "activation": "activations",
}

# The exponents with a bin of their own in W&B: down to the smallest of float32, for vanishing
# gradients, and up to 2^24, where a run has exploded. The run's own record has every bin.
_FIRST_EXPONENT, _LAST_EXPONENT = -126, 23
_EDGES = list(range(_FIRST_EXPONENT - 1, _LAST_EXPONENT + 3))  # integers: short in JSON
EXPONENTS = _EDGES[:-1]


@dataclass(frozen=True)
class Chart:
    """A line chart of a table: `y` over `x`, with a line for each value in the column "record"."""

    key: str
    title: str
    x: str
    y: str
    columns: list[str]
    rows: list[list[Any]] = field(repr=False)


def histogram(
    bins: NDArray[np.int64], zeros_and_subnormals: int, infs_and_nans: int
) -> wandb.Histogram:
    """Make a log2 histogram with one fixed axis: the exponent e of 2^e <= |x| < 2^(e+1).

    `bins` counts the exponents -126 … 127, shape (254,). The first bin of the result, e = -127,
    holds zeros and subnormal numbers; the last, e = 24, holds everything from 2^24 on, Inf and NaN
    included. So the counts add up to the number of elements.
    """
    below, above = np.array([zeros_and_subnormals]), np.array([infs_and_nans])
    return _histograms(bins[None], below, above)[0]


def _histograms(
    bins: NDArray[np.int64], below: NDArray[np.int64], above: NDArray[np.int64]
) -> list[wandb.Histogram]:
    """Make n histograms at once, with a single conversion to lists."""
    import wandb

    counts = exponent_counts(bins, below, above).tolist()
    # W&B would convert arrays to lists. It keeps lists, though its types allow only arrays.
    return [wandb.Histogram(np_histogram=(row, _EDGES)) for row in counts]  # type: ignore[arg-type]


def exponent_counts(
    bins: NDArray[np.int64], below: NDArray[np.int64], above: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the counts of n histograms: (n, len(EXPONENTS))."""
    single = _LAST_EXPONENT - _FIRST_EXPONENT + 1
    above = above + bins[:, single:].sum(axis=1)
    return np.column_stack([below, bins[:, :single], above])


def log_record(loggers: Sequence[Logger], step: int, rows: Sequence[Rows], flow: Flow) -> None:
    """Log one gradient record, in one call to each WandbLogger among `loggers`.

    Histograms go to `gradients/<parameter>` and, on request, `weights/…`, `pre_activations/…` and
    `activations/…`. Figures of `flow`, which compare runs, go to `gradient_flow/…`. Non-finite
    figures are left out, since a chart cannot show them.
    """
    wandb_loggers = _wandb_loggers(loggers)
    if not wandb_loggers:
        return
    values: dict[str, Any] = {}
    for group in rows:
        columns, key = group.columns, _HISTOGRAMS.get(group.kind)
        if key is None or "bins" not in columns:
            continue
        below = columns["zeros"] + columns["subnormals"]
        above = columns["infs"] + columns["nans"]
        for entry, made in zip(
            group.entries, _histograms(columns["bins"], below, above), strict=True
        ):
            values[f"{key}/{entry.name}"] = made
    figures = {
        "first_over_last": flow.first_over_last,  # decades
        "decades_per_layer": flow.decades_per_layer,
        "zeros": flow.zeros,  # share of dL/dw
        "non_finite": flow.non_finite,
        "dead_units": _largest(flow.dead),  # share in the worst layer
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
    """Keep each histogram's latest value out of the run's summary; defined once per key.

    W&B stores a histogram under three keys. A pattern such as `gradients/*` would not work: W&B
    uses any pattern that matches a key, and Lightning defines `*`.
    """
    known = _kept_from_summary.setdefault(run, set())
    for key in histograms:
        if key not in known:
            known.add(key)
            escaped = key.replace(".", r"\.")  # a plain dot means a nested value
            for part in ("_type", "bins", "values"):
                run.define_metric(f"{escaped}.{part}", summary="none")


_kept_from_summary: WeakKeyDictionary[wandb.Run, set[str]] = WeakKeyDictionary()


def log_verdict(loggers: Sequence[Logger], verdict: Verdict, *, alert: bool) -> None:
    """Write the verdict into the summary of every W&B run; with `alert`, alert its owner."""
    for logger in _wandb_loggers(loggers):
        run = logger.experiment
        run.summary["verdict"] = verdict.kind
        run.summary["verdict_evidence"] = verdict.evidence
        if alert:
            advice = f"Try: {'; '.join(verdict.remedies)}" if verdict.remedies else ""
            run.alert(verdict.kind, f"{verdict.evidence} (step {verdict.step}). {advice}")


def log_picture(loggers: Sequence[Logger], step: int, draw: Callable[[], Figure]) -> None:
    """Draw and log the image `gradient_flow_map`; draw nothing if there is no WandbLogger."""
    wandb_loggers = _wandb_loggers(loggers)
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
    """Make and log line charts, all in one call; make none if there is no WandbLogger.

    Each is a table, under its key and `_table`, and a panel that W&B shows automatically. The panel
    overlays the lines of several runs, with one colour per run.
    """
    wandb_loggers = _wandb_loggers(loggers)
    if not wandb_loggers:
        return
    import wandb

    charts = make()
    for logger in wandb_loggers:
        values: dict[str, Any] = {}
        for chart in charts:
            table = wandb.Table(columns=[*chart.columns], data=chart.rows)
            # Make the table a file of the run. Otherwise W&B also makes an artifact, for which it
            # asks the server; an unreachable server would end the run.
            table.bind_to_run(logger.experiment, f"{chart.key}_table", step)  # type: ignore[no-untyped-call]
            values[chart.key] = wandb.plot.line(table, chart.x, chart.y, "record", chart.title)
        if values:
            logger.log_metrics(values, step=step)


def _wandb_loggers(loggers: Sequence[Logger]) -> list[WandbLogger]:
    from lightning.pytorch.loggers import WandbLogger

    return [logger for logger in loggers if isinstance(logger, WandbLogger)]


def _largest(shares: NDArray[np.float64]) -> float:
    known = shares[np.isfinite(shares)]
    return float(known.max()) if len(known) else math.nan


def _median(values: NDArray[np.float64]) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else math.nan
