"""Read metrics.csv as curves; thin long ones to what a plot's width can show."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gradflow.runs.metrics import read_rows

POINTS = 400  # a curve on the page is about as many pixels wide


@dataclass(frozen=True)
class Curve:
    """A metric over the steps; `logged` is how many points the file holds."""

    steps: NDArray[np.int64]
    values: NDArray[np.float64]
    logged: int


def read_curves(folder: Path) -> dict[str, Curve]:
    """Read every metric of a run, in the order of the file's columns.

    Raises:
        ConfigError: if the file is damaged.
    """
    points: dict[str, list[tuple[int, float]]] = {}
    for row in read_rows(folder):
        for name, value in row.items():
            number = _number(value) if name not in ("step", "epoch", None) else None
            if number is not None:
                points.setdefault(name, []).append((int(row["step"]), number))
    return {name: _thinned(*map(np.array, zip(*xy, strict=True))) for name, xy in points.items()}


def _number(value: object) -> float | None:
    try:
        return float(value) if isinstance(value, str) and value else None
    except ValueError:
        return None


def _thinned(steps: NDArray[np.int64], values: NDArray[np.float64]) -> Curve:
    """Keep the lowest and the highest point of each interval, so that no spike is lost."""
    n = len(steps)
    if n <= POINTS:
        return Curve(steps, values, n)
    kept = {0, n - 1}
    for interval in np.array_split(np.arange(n), POINTS // 2):
        known = interval[~np.isnan(values[interval])]
        # An interval of NaN keeps one point, to show that it is NaN.
        ends = (known[values[known].argmin()], known[values[known].argmax()]) if len(known) else ()
        kept.update(map(int, ends or interval[:1]))
    order = np.array(sorted(kept))
    return Curve(steps[order], values[order], n)
