"""Pack the headline metric of every run, its mean over seeds, and its difference to baselines.

All statistics are those of `configurations.py` and `paired.py`, so that the page and the terminal
agree; the page's scripts only draw them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from gradflow.comparison.configurations import Column, Configuration
from gradflow.comparison.objective import OBJECTIVE, direction, objective, rated_metric
from gradflow.comparison.paired import baseline_of, difference, with_baseline
from gradflow.runs.read import Run
from gradflow.runs.settings import text

MOST_VALUES = 12  # of a setting; one with more values offers no baselines
# On a page; a thousand runs have about 15 kB of differences to each.
MOST_BASELINES = 16


def pack_objective(rows: Sequence[Configuration]) -> dict[str, Any] | None:
    """Return what rates all runs, with its values; None if the runs differ in it.

    `runs` has one value per run, None if the run diverged or did not finish. `figures` has
    [n, mean, half of the 95 % t-interval] per configuration.
    """
    runs = [run for row in rows for run in row.runs]
    rated = {(rated_metric(run), direction(run), run.headline and run.headline[1]) for run in runs}
    known = [one for one in rated if one[0] is not None]
    if len(known) != 1:
        return None
    metric, better, percent = known[0]
    values = [value if math.isfinite(value := objective(run)) else None for run in runs]
    figures = _figures(rows, OBJECTIVE)
    names = {"metric": metric, "direction": better, "percent": percent}
    return {**names, "runs": values, "figures": figures}


def pack_baselines(keys: Sequence[str], rows: Sequence[Configuration]) -> list[dict[str, Any]]:
    """Return the differences to each baseline that the page offers, the runs' own one first.

    Each has the parts `runs` and `figures` of `pack_objective`. A run without a partner has None.
    """
    runs = [run for row in rows for run in row.runs]
    packed: list[dict[str, Any]] = []
    for baseline in _offered(keys, runs):
        if len(packed) == MOST_BASELINES:
            break
        gain = difference(runs if baseline is None else with_baseline(runs, baseline))
        if gain is None:
            continue
        packed.append(
            {
                "label": _label(baseline or next(filter(None, map(baseline_of, runs)))),
                "own": baseline is None,
                "title": " ".join(gain.title.split()),
                "percent": gain.factor != 1,
                "runs": [gain.value(run) for run in runs],
                "figures": _figures(rows, gain),
            }
        )
    return packed


def _offered(keys: Sequence[str], runs: Sequence[Run]) -> Iterator[dict[str, str] | None]:
    """Yield None for the runs' own baseline, then each value of the settings that are words."""
    yield None
    known = [run for run in runs if run.config]
    own = [baseline_of(run) for run in known]
    for key in keys:
        values = dict.fromkeys(text(run.settings[key]) for run in known if key in run.settings)
        if len(values) > MOST_VALUES or all(map(_is_number, values)):
            continue
        yield from ({key: value} for value in values if {key: value} not in own)


def _figures(rows: Sequence[Configuration], column: Column) -> list[tuple[Any, ...]]:
    found = [row.figures(column) for row in rows]
    return [(figures.n, figures.mean, figures.half_width) for figures in found]


def _label(baseline: dict[str, str]) -> str:
    return ", ".join(f"{key}={value}" for key, value in baseline.items())


def _is_number(value: str) -> bool:
    try:
        return math.isfinite(float(value))
    except ValueError:
        return False
