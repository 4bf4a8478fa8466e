"""Log a resumed run's steps before the checkpoint again, from the run's folder.

The W&B run of a resumed run replaces the one that was cut off (see `wandb_run.py`). It gets every
step once: those before the checkpoint from here, the rest from the training. Pictures are not drawn
again; the last one shows every record.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl
from lightning.pytorch.loggers import Logger

from gradflow.gradients.flow import read_flows
from gradflow.gradients.record import Entry, scan_gradients
from gradflow.gradients.snapshot import Rows
from gradflow.gradients.weights_and_biases import log_record
from gradflow.runs.metrics import read_rows

_MOST_IN_MEMORY = 20  # records with histograms in memory at a time: as many as a part holds


def log_again(loggers: Sequence[Logger], folder: Path, step: int) -> None:
    """Log the records and metrics of all steps before `step`, in the order of their steps."""
    if not loggers or step == 0:
        return
    record = scan_gradients(folder).filter(pl.col("step") < step)
    flows = {flow.step: flow for flow in read_flows(record)}
    metrics = [row for row in read_rows(folder) if int(row["step"]) < step]
    histograms: dict[int, list[Rows]] = {}
    for at in sorted({*flows, *(int(row["step"]) for row in metrics)}):
        if at in flows:
            if at not in histograms:
                histograms = _histograms(record, [s for s in flows if s >= at][:_MOST_IN_MEMORY])
            log_record(loggers, at, histograms[at], flows[at])
        for row in metrics:
            if int(row["step"]) == at:
                values = {k: float(v) for k, v in row.items() if v and k != "step"}
                for logger in loggers:
                    logger.log_metrics(values, step=at)


def _histograms(record: pl.LazyFrame, steps: Sequence[int]) -> dict[int, list[Rows]]:
    """Read the rows with bins at `steps`; all rows of a long run would fill the memory."""
    wanted = pl.col("step").is_in(steps) & pl.col("bins").is_not_null()
    found = record.filter(wanted).collect()
    rows: dict[int, list[Rows]] = {at: [] for at in steps}
    for (at, kind), group in found.partition_by(
        "step", "kind", as_dict=True, maintain_order=True
    ).items():
        rows[at].append(_rows(kind, group))
    return rows


def _rows(kind: str, group: pl.DataFrame) -> Rows:
    entries = [
        Entry(*fields)
        for fields in group.select("name", "index", "elements", "dimensions").iter_rows()
    ]
    counts = ("zeros", "subnormals", "nans", "infs", "bins")
    return Rows(kind, entries, {column: group[column].to_numpy() for column in counts})
