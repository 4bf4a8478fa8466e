"""Finished, failed and cut-off runs, read from their folders. Nothing here writes.

A folder that is half-written or damaged is a run with fewer fields, never an error.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from gradflow.gradients.flow import Flow, read_flows
from gradflow.gradients.record import read_gradients
from gradflow.gradients.verdict import Verdict
from gradflow.training.status import CONFIG, Status, is_claimed
from gradflow.training.status import FILE as STATUS


@dataclass(frozen=True)
class Run:
    """What a run's folder says of it."""

    folder: Path
    state: str  # finished, failed, interrupted, running, cut off
    start: str
    seconds: float
    steps: int
    diverged_at: int | None
    error: str | None
    metrics: dict[str, float]
    axes: dict[str, str]
    verdict: Verdict | None  # None where gradients were not watched, or the run had no end
    config: dict[str, Any] = field(repr=False)

    def flows(self) -> list[Flow]:
        """What the gradients did at each record, earliest first; none if they cannot be read."""
        return self._flows(pl.lit(True))

    def flow(self, step: int = 0) -> Flow | None:
        """What the gradients did at the record of `step`; None if there is none to be read."""
        return next(iter(self._flows(pl.col("step") == step)), None)

    def _flows(self, wanted: pl.Expr) -> list[Flow]:
        try:
            return read_flows(read_gradients(self.folder).filter(wanted))
        except (OSError, pl.exceptions.PolarsError):
            return []


def read_runs(paths: Iterable[Path]) -> list[Run]:
    """Read every run in or below `paths`, oldest first."""
    folders = {status.parent for path in paths for status in Path(path).rglob(STATUS)}
    return sorted((read_run(folder) for folder in folders), key=lambda run: (run.start, run.folder))


def read_run(folder: Path) -> Run:
    """Read one run's folder."""
    status = Status.read(folder)
    config: Any = None
    with contextlib.suppress(OSError, ValueError, yaml.YAMLError):
        config = yaml.safe_load((folder / CONFIG).read_text())
    # The axes stand last: a file without them is cut short, and what it lacks is not `None`.
    config = config if isinstance(config, dict) and isinstance(config.get("axes"), dict) else {}
    axes = config.get("axes", {})
    if status is None:
        return Run(folder, "unreadable", "", 0.0, 0, None, None, {}, axes, None, config)
    state: str = status.state
    if state == "running" and not is_claimed(folder):
        state = "cut off"
    return Run(
        folder,
        state,
        status.start,
        status.seconds,
        status.steps,
        status.diverged_at,
        status.error,
        status.metrics,
        axes,
        Verdict.read(folder),
        config,
    )
