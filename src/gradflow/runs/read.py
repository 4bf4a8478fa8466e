"""Read finished, failed and cut-off runs from their folders. Nothing here writes.

A folder that is half-written, damaged or of another version gives a run with fewer fields, never an
error.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from gradflow.gradients.flow import Flow, read_flows
from gradflow.gradients.record import scan_gradients
from gradflow.gradients.verdict import Verdict
from gradflow.runs.files import (
    CONFIG,
    GRADIENTS,
    OVERRIDES,
    REFUSAL,
    STATUS,
    VERDICT,
    is_claimed,
)
from gradflow.runs.metrics import last_values, read_rows
from gradflow.runs.plain_yaml import plain_yaml
from gradflow.runs.settings import flatten
from gradflow.runs.status import Status


@dataclass(frozen=True)
class Run:
    """A run, as read from its folder."""

    folder: Path
    # finished, failed, interrupted, running, cut off, refused, half-written, other version; or
    # record only, which the monitor writes in a project without run folders
    state: str
    start: str
    seconds: float
    steps: int
    diverged_at: int | None
    error: str | None
    metrics: dict[str, float]
    axes: dict[str, str]
    verdict: Verdict | None  # None if gradients were not watched or the run did not end
    config: dict[str, Any] = field(repr=False)
    overridden_keys: tuple[str, ...] = field(default=(), repr=False)
    wandb_id: str | None = None

    @cached_property
    def settings(self) -> dict[str, Any]:
        """Every setting that may change the result, by its key on the command line."""
        return flatten(self.config, self.axes)

    @cached_property
    def headline(self) -> tuple[str, bool] | None:
        """The headline metric, and whether it is a share; None if the configuration names none."""
        comparison = self.config.get("comparison")
        headline = comparison.get("headline") if isinstance(comparison, dict) else None
        if not isinstance(headline, dict) or not isinstance(headline.get("metric"), str):
            return None
        return headline["metric"], headline.get("percent") is True

    @property
    def is_healthy(self) -> bool:
        """Whether its verdict is healthy."""
        return self.verdict is not None and self.verdict.kind == "healthy"

    @cached_property
    def first_over_last(self) -> float | None:
        """Decades of dL/dz from the last nonlinearity to the first, before the first step.

        -inf if only the first is 0, inf if only the last is; None if not recorded or NaN.
        """
        flow = self.flow(step=0)
        if flow is None or flow.first_over_last != flow.first_over_last:
            return None
        return flow.first_over_last

    @cached_property
    def problems(self) -> list[str]:
        """One message for each file that exists and cannot be read."""
        found = []
        if (self.folder / CONFIG).exists() and not self.config:
            found.append(CONFIG)
        if (self.folder / VERDICT).exists() and self.verdict is None:
            found.append(VERDICT)
        try:
            scan_gradients(self.folder).select(pl.len()).collect()
        except FileNotFoundError:  # the run's folder itself is gone
            pass
        except (OSError, TypeError, pl.exceptions.PolarsError):
            found.append(GRADIENTS)
        return [f"{name} cannot be read" for name in found]

    def flows(self, until: int | None = None) -> list[Flow]:
        """Return the gradient flow of every record, earliest first; empty if it cannot be read.

        With `until`, only those of steps up to it.
        """
        return self._flows(pl.lit(True) if until is None else pl.col("step") <= until)

    def flow(self, step: int = 0) -> Flow | None:
        """Return the gradient flow recorded at `step`; None if it is missing or cannot be read."""
        return next(iter(self._flows(pl.col("step") == step)), None)

    def curve(self, metric: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the steps at which a metric was logged, and its values; empty if never."""
        try:
            rows = [row for row in read_rows(self.folder) if row.get(metric)]
            steps, values = (
                [float(row["step"]) for row in rows],
                [float(row[metric]) for row in rows],
            )
        except (OSError, ValueError, TypeError):  # ConfigError is a ValueError
            steps, values = [], []
        return np.array(steps), np.array(values)

    def _flows(self, wanted: pl.Expr) -> list[Flow]:
        try:
            return read_flows(scan_gradients(self.folder).filter(wanted))
        except (OSError, TypeError, pl.exceptions.PolarsError):
            return []


def read_runs(paths: Iterable[Path]) -> list[Run]:
    """Read every run in or below `paths`, oldest first."""
    folders = [folder for path in paths for folder in _run_folders(Path(path))]
    once = {folder.resolve(): folder for folder in reversed(folders)}  # by whatever path
    runs = (read_run(folder) for folder in once.values())
    return sorted(runs, key=lambda run: (run.start, run.folder))


def read_run(folder: Path) -> Run:
    """Read one run's folder."""
    config = _yaml(folder / CONFIG)
    config = config if _is_whole(config) else {}
    overrides = _yaml(folder / OVERRIDES)
    overrides = overrides if isinstance(overrides, list) else []
    overridden_keys = tuple(str(override).lstrip("+~").partition("=")[0] for override in overrides)
    known: dict[str, Any] = {
        "axes": config.get("axes", {}),
        "config": config,
        "overridden_keys": overridden_keys,
    }
    status = Status.read(folder)
    if status is None:
        state, error = _without_status(folder)
        verdict = Verdict.read(folder)
        return Run(
            folder, state, "", 0.0, 0, None, error, _latest(folder), verdict=verdict, **known
        )
    state = status.state
    # Without a host it was fetched, and runs where this machine sees no lock.
    if state == "running" and status.host and not is_claimed(folder):
        state = "cut off"
    return Run(
        folder,
        state,
        status.start,
        status.seconds,
        status.steps,
        status.diverged_at,
        status.error,
        status.metrics or _latest(folder),
        verdict=Verdict.read(folder),
        wandb_id=status.wandb_id,
        **known,
    )


def _is_whole(config: Any) -> bool:
    """Say whether a configuration is complete; a key that a cut-off file lacks is not `None`."""
    axes = config.get("axes") if isinstance(config, dict) else None
    return isinstance(axes, dict) and all(isinstance(choice, str) for choice in axes.values())


def _run_folders(top: Path) -> Iterator[Path]:
    """Yield the folders of runs in or below `top`, without searching inside a run's folder."""
    seen: set[str] = set()  # a link may lead back up
    for folder, below, files in os.walk(top, followlinks=True):
        if (real := os.path.realpath(folder)) in seen:
            below.clear()
            continue
        seen.add(real)
        if {STATUS, CONFIG, REFUSAL} & set(files):
            yield Path(folder)
            below.clear()
        # Hydra's own copies of a configuration are not runs.
        below[:] = [name for name in below if not name.startswith(".")]


def _without_status(folder: Path) -> tuple[str, str | None]:
    """Return the state and error of a run without a status that this version understands."""
    for name, state in ((STATUS, "other version"), (REFUSAL, "refused")):
        with contextlib.suppress(OSError, ValueError):
            found = json.loads((folder / name).read_bytes())
            if isinstance(found, dict):
                return state, found.get("error")
    if (folder / GRADIENTS).exists() and not (folder / CONFIG).exists():
        return "record only", None  # the monitor in another Lightning project
    return "half-written", None


def _latest(folder: Path) -> dict[str, float]:
    """Return the last logged metrics of a run that did not end."""
    try:
        return last_values(folder)
    except (OSError, ValueError, TypeError):  # ConfigError is a ValueError
        return {}


def _yaml(path: Path) -> Any:
    with contextlib.suppress(OSError, ValueError):
        text = path.read_text(encoding="utf-8")
        # A complete file ends with a newline.
        return plain_yaml(text) if text.endswith("\n") else None
    return None
