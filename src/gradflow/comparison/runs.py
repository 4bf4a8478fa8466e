"""Finished, failed and cut-off runs, read from their folders. Nothing here writes.

A folder that is half-written or damaged is a run with fewer fields, never an error.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from gradflow.gradients.record import read_gradients
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
    config: dict[str, Any] = field(repr=False)

    def layer_gradients(self, step: int = 0) -> list[tuple[str, float | None]]:
        """log10 RMS of dL/dw of each layer's weight, input to output, at the record of `step`.

        None where nothing is finite, -inf where all is 0; an empty list if nothing was recorded.
        """
        try:
            rows = read_gradients(self.folder)
        except (OSError, pl.exceptions.PolarsError):
            return []
        rows = rows.filter(
            (pl.col("kind") == "gradient")
            & (pl.col("step") == step)
            & pl.col("name").str.contains(r"(conv\d?|head)\.weight$")
        ).sort("index")
        return [
            (name, None if rms is None else _log10(rms))
            for name, rms in rows.select("name", "rms").iter_rows()
        ]


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
    config = config if isinstance(config, dict) else {}
    axes = config["axes"] if isinstance(config.get("axes"), dict) else {}
    if status is None:
        return Run(folder, "unreadable", "", 0.0, 0, None, None, {}, axes, config)
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
        config,
    )


def _log10(value: float) -> float:
    return math.log10(value) if value > 0 else -math.inf
