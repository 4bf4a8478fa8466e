"""Which runs of many, and in which order: `activation=relu,selu`, in the words of a command line.

The words are read by Hydra's own parser, so that whatever starts runs also picks them.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import QuotedString
from hydra.errors import HydraException

from gradflow.comparison.configurations import Configuration, columns, metric, value_of
from gradflow.errors import ConfigError
from gradflow.runs.read import Run
from gradflow.runs.settings import text

# What can be asked for that is no setting.
_OUTCOMES: dict[str, Callable[[Run], str]] = {
    "verdict": lambda run: run.verdict.kind if run.verdict else "-",
    "state": lambda run: run.state,
    "study": lambda run: value_of(run, "study"),
}


def where(runs: Sequence[Run], words: Sequence[str]) -> list[Run]:
    """Return the runs that every one of `words` fits: `key=value`, or `key=one,another` for any.

    Keys are those of a configuration, and `verdict`, `state` and `study`.

    Raises:
        ConfigError: for a word that cannot be read, a key that no run has, or when no run is left.
    """
    for word in words:
        key, wanted = _parse(word)
        _check_key(runs, word, key)
        runs = [run for run in runs if _has(run, key) in wanted]
        if not runs:
            raise ConfigError(f"--where {word}: no run is left")
    return list(runs)


def sort(
    words: Sequence[str], rows: Sequence[Configuration], by: str, *, descending: bool = False
) -> list[Configuration]:
    """Return the rows in the order of a column's means, or of a word that tells them apart.

    What has no value comes last, either way. ConfigError if there is no such column.
    """
    figures = {column.name: column for column in columns([run for row in rows for run in row.runs])}
    known: dict[str, Any] = {word: i for i, word in enumerate(words)}
    metrics = {name for row in rows for run in row.runs for name in run.metrics}
    if by in known:
        keyed = [(_order(row.values[known[by]]), row) for row in rows]
    elif by in figures or by in metrics:
        column = figures.get(by) or metric(by)
        keyed = [((_number(row.figures(column).mean), ""), row) for row in rows]
    elif by == "n":
        keyed = [((float(len(row.runs)), ""), row) for row in rows]
    elif by in ("verdict", "state"):
        keyed = [((0.0, row.shows if by == "verdict" else row.states), row) for row in rows]
    else:
        allowed = ", ".join(
            [*words, *figures, *sorted(metrics - set(figures)), "n", "verdict", "state"]
        )
        raise ConfigError(f"--sort {by}: there is no such column; allowed: {allowed}")
    missing = [row for key, row in keyed if math.isnan(key[0])]
    known_rows = [(key, row) for key, row in keyed if not math.isnan(key[0])]
    known_rows.sort(key=lambda pair: pair[0], reverse=descending)
    return [row for _, row in known_rows] + missing


def _parse(word: str) -> tuple[str, set[str]]:
    refusal = f"--where {word}: cannot be read; allowed: key=value, key=one,another"
    try:
        override = OverridesParser.create().parse_override(word)
        sweeps = override.is_sweep_override()
        values = list(override.sweep_iterator()) if sweeps else [override.value()]
    except HydraException as error:
        raise ConfigError(refusal) from error
    if override.is_delete() or override.is_add() or override.package is not None:
        raise ConfigError(refusal)
    return str(override.key_or_group), {_plain(value) for value in values}


def _plain(value: Any) -> str:
    if isinstance(value, QuotedString):
        value = value.text
    if isinstance(value, list):
        # A list of choices of an axis is written with a plus in a run's record.
        return "+".join(_plain(item) for item in value)
    return _canonical(text(value))


def _has(run: Run, key: str) -> str:
    found = _OUTCOMES[key](run) if key in _OUTCOMES else run.settings.get(key)
    if isinstance(found, list):
        return "+".join(_canonical(text(item)) for item in found)
    return _canonical(text(found))


def _canonical(word: str) -> str:
    """One text for one number: 0.1, .1 and 1e-1."""
    try:
        return repr(float(word))
    except ValueError:
        return {"null": "-", "True": "true", "False": "false"}.get(word, word)


def _check_key(runs: Sequence[Run], word: str, key: str) -> None:
    known = dict.fromkeys([*_OUTCOMES, *(name for run in runs for name in run.settings)])
    if key not in known:
        near = difflib.get_close_matches(key, known, n=5, cutoff=0.5) or list(known)
        raise ConfigError(f"--where {word}: no run has that key; allowed: {', '.join(near)}")


def _order(value: str) -> tuple[float, str]:
    """Numbers in their order, before words in theirs."""
    try:
        return float(value), ""
    except ValueError:
        return math.inf, value


def _number(value: float | None) -> float:
    return math.nan if value is None else value
