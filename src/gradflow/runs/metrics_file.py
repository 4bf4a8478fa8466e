"""A Lightning logger for metrics.csv. Unlike CSVLogger, it keeps its rows when a run resumes.

One row per log call, one column per metric, `step` and `epoch` first. A metric that a call did not
log is an empty field.
"""

from __future__ import annotations

import csv
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from gradflow.gradients.atomic import atomic_write
from gradflow.runs.files import METRICS
from gradflow.runs.metrics import read_rows


class MetricsFile(Logger):
    """Append scalars to `folder`/metrics.csv; a new metric adds a column to the whole file.

    Raises:
        ConfigError: if the file exists and is damaged.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.path = folder / METRICS
        self._columns = ["step", "epoch"]
        self.rows = 0  # so far
        if self.path.exists():
            self.rows = len(read_rows(folder))  # fails here if damaged, before a row is lost
            with self.path.open(newline="") as file:
                self._columns = next(csv.reader(file), self._columns)

    @property
    def name(self) -> str:
        """Empty: the file lies in the run's folder, without a folder for the logger."""
        return ""

    @property
    def version(self) -> str:
        """Empty, like the name."""
        return ""

    @property
    def save_dir(self) -> str:
        """The run's folder."""
        return str(self.path.parent)

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **more: Any) -> None:
        """Do nothing: config.yaml holds the configuration."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Append one row of the values that are numbers; other loggers take the rest."""
        row: dict[str, Any] = {k: v for k, v in metrics.items() if isinstance(v, int | float)}
        if not row:
            return
        row["step"] = step
        new = [name for name in row if name not in self._columns]
        if new:
            self._columns += new
            self._rewrite(read_rows(self.path.parent) if self.path.exists() else [])
        with self.path.open("a", newline="") as file:
            csv.DictWriter(file, self._columns).writerow(row)
        self.rows += step is not None

    @rank_zero_only
    def keep(self, rows: int) -> None:
        """Remove all but the first `rows` rows, since a resumed run writes the others again."""
        if self.path.exists():
            kept = read_rows(self.path.parent)[:rows]
            self._rewrite(kept)
            self.rows = len(kept)

    def _rewrite(self, rows: list[dict[str, str]]) -> None:
        with atomic_write(self.path) as temporary, temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, self._columns)
            writer.writeheader()
            writer.writerows(rows)
