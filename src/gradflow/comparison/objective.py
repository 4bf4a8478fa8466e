"""Rate runs by one number, their headline metric on the validation split: what a search optimizes.

A run without validation figures is rated by its training metric. The test split is never used.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from gradflow.comparison.configurations import Column, Configuration
from gradflow.runs.read import Run


def objective(run: Run, better: str | None = None) -> float:
    """Return the run's headline metric; the worst value, ±inf, if it diverged or did not finish.

    `better` is "max" or "min", whichever is better; by default the run's own configuration
    names it.
    """
    worst = -math.inf if (better or direction(run)) == "max" else math.inf
    metric = rated_metric(run)
    if run.state != "finished" or run.diverged_at is not None or metric is None:
        return worst
    value = run.metrics[metric]
    return value if math.isfinite(value) else worst


OBJECTIVE = Column("objective", "objective", objective, ".3g")


def rated_metric(run: Run) -> str | None:
    """Return the name of the metric that rates the run; None if it has none."""
    if run.headline is None:
        return None
    names = (f"{split}/{run.headline[0]}" for split in ("validation", "train"))
    return next((name for name in names if name in run.metrics), None)


def best_first(rows: Sequence[Configuration]) -> list[Configuration]:
    """Return the rows sorted by the mean of their runs' objective."""
    return sorted(rows, key=_loss)


def best(rows: Sequence[Configuration]) -> Run | None:
    """Return the run with the best objective; None if every run has the worst value."""
    runs = [run for row in rows for run in row.runs if math.isfinite(objective(run))]
    return min(runs, key=lambda run: _sign(run) * objective(run), default=None)


def _loss(row: Configuration) -> float:
    mean = row.figures(OBJECTIVE).mean
    return math.inf if mean is None else _sign(row.runs[0]) * mean


def _sign(run: Run) -> int:
    return -1 if direction(run) == "max" else 1


def direction(run: Run) -> str | None:
    """Return "max" or "min", whichever of the headline metric is better; None if not known."""
    comparison = run.config.get("comparison")
    headline = comparison.get("headline") if isinstance(comparison, dict) else None
    found = headline.get("direction") if isinstance(headline, dict) else None
    return found if isinstance(found, str) else None
