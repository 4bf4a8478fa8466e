"""Select and sort runs by overrides, such as `activation=relu,selu`.

Hydra's own parser reads them, so that the overrides that start runs also select them.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import QuotedString
from hydra.errors import HydraException

from gradflow.comparison.columns import columns, metric
from gradflow.comparison.configurations import Configuration, value_of
from gradflow.comparison.paired import partners, with_baseline
from gradflow.errors import ConfigError
from gradflow.runs.read import Run
from gradflow.runs.settings import text

# Keys that are no settings, but can select runs.
_OUTCOMES: dict[str, Callable[[Run], str]] = {
    "verdict": lambda run: run.verdict.kind if run.verdict else "-",
    "state": lambda run: run.state,
    "study": lambda run: value_of(run, "study"),
}


def where(runs: Sequence[Run], overrides: Sequence[str]) -> list[Run]:
    """Return the runs that match all of `overrides`: `key=value`, or `key=one,another` for either.

    A key is a setting, `verdict`, `state` or `study`.

    Raises:
        ConfigError: if an override cannot be parsed, no run has its key, or no run is left.
    """
    for override in overrides:
        key, wanted = _parse(override)
        _check_key(runs, override, key)
        runs = [run for run in runs if _value(run, key) in wanted]
        if not runs:
            raise ConfigError(f"--where {override}: no run is left")
    return list(runs)


def against(runs: Sequence[Run], overrides: Sequence[str]) -> list[Run]:
    """Return the runs with a baseline of their own: the runs that match all of `overrides`.

    Raises:
        ConfigError: if an override cannot be parsed, has several values or is no setting, if none
            or all of the runs match, or if no run has a partner among them.
    """
    if not overrides:
        return list(runs)
    baseline = {}
    matching = list(runs)
    for override in overrides:
        key, wanted = _parse(override, "--baseline")
        if len(wanted) > 1 or key in baseline:
            raise ConfigError(f"--baseline {override}: takes one value")
        if key in _OUTCOMES or key == "seed":
            raise ConfigError(f"--baseline {override}: must be a setting, and not the seed")
        _check_key(runs, override, key, "--baseline")
        matching = [run for run in matching if _value(run, key) in wanted]
        if not matching:
            raise ConfigError(f"--baseline {override}: no run has that value")
        baseline[key] = text(matching[0].settings.get(key))
    changed = with_baseline(runs, baseline)
    if not partners(changed):
        raise ConfigError(
            f"--baseline {' '.join(overrides)}: no run has a partner of its seed that differs in "
            "this alone"
        )
    return changed


def sort(
    keys: Sequence[str], rows: Sequence[Configuration], by: str, *, descending: bool = False
) -> list[Configuration]:
    """Return the rows sorted by a column's mean, or by one of `keys`, the keys that differ.

    Rows without a value come last in either direction. ConfigError if there is no such column.
    """
    figures = {column.name: column for column in columns([run for row in rows for run in row.runs])}
    places = {key: i for i, key in enumerate(keys)}
    metrics = {name for row in rows for run in row.runs for name in run.metrics}
    if by in places:
        keyed = [(_order(row.values[places[by]]), row) for row in rows]
    elif by in figures or by in metrics:
        column = figures.get(by) or metric(by)
        keyed = [((_number(row.figures(column).mean), ""), row) for row in rows]
    elif by == "n":
        keyed = [((float(len(row.runs)), ""), row) for row in rows]
    elif by in ("verdict", "state"):
        keyed = [((0.0, row.outcomes if by == "verdict" else row.states), row) for row in rows]
    else:
        allowed = ", ".join(
            [*keys, *figures, *sorted(metrics - set(figures)), "n", "verdict", "state"]
        )
        raise ConfigError(f"--sort {by}: there is no such column; allowed: {allowed}")
    missing = [row for key, row in keyed if math.isnan(key[0])]
    present = [(key, row) for key, row in keyed if not math.isnan(key[0])]
    present.sort(key=lambda pair: pair[0], reverse=descending)
    return [row for _, row in present] + missing


def _parse(expression: str, option: str = "--where") -> tuple[str, set[str]]:
    message = f"{option} {expression}: cannot be read; allowed: key=value, key=one,another"
    try:
        override = OverridesParser.create().parse_override(expression)
        sweeps = override.is_sweep_override()
        values = list(override.sweep_iterator()) if sweeps else [override.value()]
    except HydraException as error:
        raise ConfigError(message) from error
    if override.is_delete() or override.is_add() or override.package is not None:
        raise ConfigError(message)
    return str(override.key_or_group), {_plain(value) for value in values}


def _plain(value: Any) -> str:
    if isinstance(value, QuotedString):
        value = value.text
    if isinstance(value, list):
        # A run's record joins the choices of an axis with a plus.
        return "+".join(_plain(item) for item in value)
    return _canonical(text(value))


def _value(run: Run, key: str) -> str:
    found = _OUTCOMES[key](run) if key in _OUTCOMES else run.settings.get(key)
    if isinstance(found, list):
        return "+".join(_canonical(text(item)) for item in found)
    return _canonical(text(found))


def _canonical(value: str) -> str:
    """Return one text for equal values, such as 0.1, .1 and 1e-1."""
    try:
        return repr(float(value))
    except ValueError:
        return {"null": "-", "True": "true", "False": "false"}.get(value, value)


def _check_key(runs: Sequence[Run], override: str, key: str, option: str = "--where") -> None:
    known = dict.fromkeys([*_OUTCOMES, *(name for run in runs for name in run.settings)])
    if key not in known:
        near = difflib.get_close_matches(key, known, n=5, cutoff=0.5) or list(known)
        raise ConfigError(f"{option} {override}: no run has that key; allowed: {', '.join(near)}")


def _order(value: str) -> tuple[float, str]:
    """Return a sort key: numbers in order, then texts in order."""
    try:
        return float(value), ""
    except ValueError:
        return math.inf, value


def _number(value: float | None) -> float:
    return math.nan if value is None else value
