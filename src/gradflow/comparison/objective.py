"""Rate runs by one number, their headline metric on the validation split: what a search optimizes.

A run without validation figures is rated by its training metric. The test split is never used.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from gradflow.comparison.configurations import Column, Configuration
from gradflow.runs.read import Run


def objective(run: Run, direction: str | None = None) -> float:
    """Return the run's headline metric; the worst value, ±inf, if it diverged or did not finish.

    `direction` is "max" or "min", whichever is better; by default the run's own configuration
    names it.
    """
    worst = -math.inf if (direction or _direction(run)) == "max" else math.inf
    if run.state != "finished" or run.diverged_at is not None or run.headline is None:
        return worst
    metric, _ = run.headline
    for split in ("validation", "train"):
        value = run.metrics.get(f"{split}/{metric}")
        if value is not None:
            return value if math.isfinite(value) else worst
    return worst


def best_first(rows: Sequence[Configuration]) -> list[Configuration]:
    """Return the rows sorted by the mean of their runs' objective."""
    return sorted(rows, key=_loss)


def best(rows: Sequence[Configuration]) -> Run | None:
    """Return the run with the best objective; None if every run has the worst value."""
    runs = [run for row in rows for run in row.runs if math.isfinite(objective(run))]
    return min(runs, key=lambda run: _sign(run) * objective(run), default=None)


def _loss(row: Configuration) -> float:
    mean = row.figures(Column("objective", "objective", objective, ".3g")).mean
    return math.inf if mean is None else _sign(row.runs[0]) * mean


def _sign(run: Run) -> int:
    return -1 if _direction(run) == "max" else 1


def _direction(run: Run) -> str | None:
    comparison = run.config.get("comparison")
    headline = comparison.get("headline") if isinstance(comparison, dict) else None
    found = headline.get("direction") if isinstance(headline, dict) else None
    return found if isinstance(found, str) else None
