"""Compare runs with the baseline of the same seed: the difference that the same start leaves.

Two runs of one seed share their data's order, and mostly their weights. So their difference varies
less than either of them, and three seeds tell more (a paired t-interval).

A baseline is a few settings, such as remedy=none, that `comparison.baseline` of a run names. A
run's partner has these settings, the same seed, and the same value of every other key in which the
runs differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from gradflow.comparison.configurations import Column
from gradflow.comparison.objective import rated_metric
from gradflow.runs.read import Run
from gradflow.runs.settings import differing, text


def with_baseline(runs: Sequence[Run], baseline: Mapping[str, str]) -> list[Run]:
    """Return the runs with another baseline than their own configurations name."""
    return [
        replace(run, config=run.config | {"comparison": comparison | {"baseline": dict(baseline)}})
        if isinstance(comparison := run.config.get("comparison"), dict)
        else run
        for run in runs
    ]


def partners(runs: Sequence[Run]) -> dict[Path, Run]:
    """Return the partner of each run's folder that has exactly one; baselines have none."""
    # A case stands for a pathology and a remedy.
    keys = ["pathology" if key == "case" else key for key in differing(runs)]
    found: dict[tuple[str, ...], list[Run]] = {}
    for run in runs:
        if _is_baseline(run):
            found.setdefault(_place(run, keys), []).append(run)
    treated = [run for run in runs if not _is_baseline(run)]
    among = {run.folder: found.get(_place(run, keys), []) for run in treated}
    return {folder: only[0] for folder, only in among.items() if len(only) == 1}


def baseline_of(run: Run) -> dict[str, str]:
    """Return the settings of the run's baseline; empty if its configuration names none."""
    comparison = run.config.get("comparison")
    named = comparison.get("baseline") if isinstance(comparison, dict) else None
    return {str(k): text(v) for k, v in named.items()} if isinstance(named, dict) else {}


def difference(runs: Sequence[Run]) -> Column | None:
    """Return the column of the headline metric's difference to the partner; None if none has one.

    It has a value for the runs whose figures are known for both. If the partner diverged, its
    metric is that of the last step before.
    """
    pairs = partners(runs)

    def value(run: Run) -> float | None:
        partner, metric = pairs.get(run.folder), rated_metric(run)
        if partner is None or metric is None or metric not in partner.metrics:
            return None
        return run.metrics[metric] - partner.metrics[metric]

    first = next((run for run in runs if value(run) is not None), None)
    if first is None:
        return None
    metric, percent = str(rated_metric(first)), first.headline is not None and first.headline[1]
    split, _, name = metric.partition("/")
    baseline = ", ".join(f"{key}={text}" for key, text in baseline_of(first).items())
    return Column(
        "gain",
        f"{split}\n{name} minus that of\n{baseline}{', points' if percent else ''}",
        value,
        "+.1f" if percent else "+.3g",
        100.0 if percent else 1.0,
        interval=True,
    )


def _is_baseline(run: Run) -> bool:
    baseline = baseline_of(run)
    return bool(baseline) and all(text(run.settings.get(k)) == v for k, v in baseline.items())


def _place(run: Run, keys: Sequence[str]) -> tuple[str, ...]:
    baseline = baseline_of(run)
    others = [key for key in keys if key not in baseline]
    return tuple(f"{key}={text(run.settings.get(key))}" for key in [*others, "seed"])
