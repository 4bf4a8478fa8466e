"""Read metrics.csv, the scalars that a run has logged. `metrics_file.py` writes it.

This file does not import Lightning: that takes seconds, and a table over runs does not need it.
"""

from __future__ import annotations

import csv
from pathlib import Path

from gradflow.errors import ConfigError
from gradflow.runs.files import METRICS


def last_values(folder: Path) -> dict[str, float]:
    """Return each metric's last value in metrics.csv; `step` and `epoch` are no metrics."""
    return {
        name: float(value)
        for row in read_rows(folder)
        for name, value in row.items()
        if name not in ("step", "epoch") and value
    }


def read_rows(folder: Path) -> list[dict[str, str]]:
    """Read a run's rows, without a last row that a killed process left half-written.

    Raises:
        ConfigError: if the file is damaged.
    """
    path = folder / METRICS
    if not path.exists():
        return []
    try:
        text = path.read_text(encoding="utf-8")
        whole = text[: text.rfind("\n") + 1]
        rows = list(csv.DictReader(whole.splitlines()))
        return [row for row in rows if (row["step"] or "").isdecimal() and None not in row]
    except (UnicodeDecodeError, csv.Error, KeyError) as error:
        raise ConfigError(f"{path}: is damaged; remove {folder} to train the run again") from error
