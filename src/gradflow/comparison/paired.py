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
from gradflow.runs.settings import differing, result_settings, text
from gradflow.runs.status import ENDED

_NAMES = ("pathology", "remedy", "case")  # settings that only name a configuration


def with_baseline(runs: Sequence[Run], baseline: Mapping[str, str]) -> list[Run]:
    """Return the runs with another baseline than their own configurations name."""
    changed = []
    for run in runs:
        own = run.config.get("comparison")
        comparison = {**(own if isinstance(own, dict) else {}), "baseline": dict(baseline)}
        changed.append(replace(run, config=run.config | {"comparison": comparison}))
    return changed


def partners(runs: Sequence[Run]) -> dict[Path, Run]:
    """Return the partner of each run's folder that has exactly one; baselines have none.

    A partner has ended. Of several, the one of the run's own study is meant.
    """
    bases = [run for run in runs if run.state in ENDED and _is_baseline(run)]
    if not bases:  # as in most tables; the rest costs time for a thousand runs
        return {}
    # A case stands for a pathology and a remedy. A key that a run lacks is newer than the run.
    keys = [
        "pathology" if key == "case" else key
        for key in differing(runs)
        if all(key in run.settings for run in runs if run.config)
    ]
    found: dict[tuple[str, ...], list[Run]] = {}
    for run in bases:
        found.setdefault(_place(run, keys), []).append(run)
    pairs = {}
    for run in runs:
        among = [] if _is_baseline(run) else found.get(_place(run, keys), [])
        beside = [other for other in among if other.folder.parent == run.folder.parent]
        for only in (among, beside):
            if len(only) == 1:
                pairs[run.folder] = only[0]
    return pairs


def changes_nothing(run: Run, partner: Run) -> bool:
    """Whether a run has its partner's settings, but for the names of its configuration."""
    return net_of(run) == net_of(partner)


def net_of(run: Run) -> str:
    """Return every setting that may change a number of the run, as text, without its names."""
    settings = result_settings(run.config)
    kept = {k: v for k, v in settings.items() if k.partition(".")[0] not in _NAMES}
    return repr(sorted(kept.items()))


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
    rated = [run for run in runs if run.folder in pairs and rated_metric(run) is not None]
    if not rated:
        return None
    metric = str(rated_metric(rated[0]))

    def value(run: Run) -> float | None:
        partner = pairs.get(run.folder)
        if partner is None or metric not in run.metrics or metric not in partner.metrics:
            return None
        return run.metrics[metric] - partner.metrics[metric]

    if all(value(run) is None for run in rated):
        return None
    percent = rated[0].headline is not None and rated[0].headline[1]
    split, _, name = metric.partition("/")
    baseline = ", ".join(f"{key}={text}" for key, text in baseline_of(rated[0]).items())
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
