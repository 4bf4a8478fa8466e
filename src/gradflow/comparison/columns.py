"""The columns of a table over runs: which figures of a run stand in it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from gradflow.comparison.configurations import Column
from gradflow.comparison.paired import difference
from gradflow.runs.read import Run


def metric(name: str) -> Column:
    """Return the column of a metric's last value, named as in metrics.csv."""
    return Column(name, name, lambda run: run.metrics.get(name), ".3g")


def _headline(split: str, name: str, percent: bool) -> Column:
    column, title = metric(f"{split}/{name}"), f"{split}\n{name}"
    if percent:
        return replace(column, title=f"{title}, %", form=".1f", factor=100)
    return replace(column, title=title)


def headlines(runs: Iterable[Run]) -> list[tuple[str, bool]]:
    """Return the runs' headline metrics, each once, and whether each is a share."""
    return list(dict.fromkeys(run.headline for run in runs if run.headline is not None))


def columns(runs: Sequence[Run]) -> list[Column]:
    """Return the columns of a table over `runs`; their configs name the headline metrics."""
    metrics = [
        _headline(split, *headline)
        for headline in headlines(runs)
        for split in ("train", "validation", "test")
    ]
    gain = difference(runs)
    return [DECADES, *metrics, *([] if gain is None else [gain]), SECONDS]


DECADES = Column(
    "first_over_last",
    "dL/dz of the first\nlayer over the last's,\ndecades, step 0",
    lambda run: run.first_over_last,
    "+.1f",
)
SECONDS = Column("seconds", "seconds", lambda run: run.seconds or None, ".0f")
