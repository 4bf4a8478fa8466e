"""Configurations: runs that differ in nothing but the seed, and the fewest words for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gradflow.comparison.runs import Run


@dataclass(frozen=True)
class Configuration:
    """The runs that differ in nothing but their seed."""

    values: tuple[str, ...]  # of the words that tell the configurations apart
    runs: tuple[Run, ...]


def configurations(runs: Sequence[Run]) -> tuple[list[str], list[Configuration]]:
    """Return the words that tell the runs' configurations apart, and the configurations.

    In the order of `runs`. A run of which no configuration is known stands alone, under the name of
    its folder.
    """
    groups: dict[tuple[object, ...], list[Run]] = {}
    for run in runs:
        settings = flat(run.config)
        settings.pop("seed", None)
        key = tuple(sorted(settings.items())) if run.config else (run.folder,)
        groups.setdefault(key, []).append(run)
    known = [flat(group[0].config) for group in groups.values() if group[0].config]
    words = _words(known) or ["remedy"]
    rows = []
    for group in groups.values():
        settings = flat(group[0].config)
        values = tuple(settings.get(f"axes.{w}", settings.get(w, "-")) for w in words)
        if not group[0].config:
            values = (group[0].folder.name, *values[1:])
        rows.append(Configuration(values, tuple(group)))
    return words, rows


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return every value as one would type it, under its dotted key."""
    found: dict[str, str] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = _text(value)
    return found


def _text(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{','.join(map(_text, value))}]"
    return str(value)


def _words(settings: Sequence[Mapping[str, str]]) -> list[str]:
    """Take words, the axes first, until they tell all apart; none that adds nothing."""
    keys = list(dict.fromkeys(key for of in settings for key in of if key != "seed"))
    keys.sort(key=lambda key: (key != "case", not key.startswith("axes.")))
    words: list[str] = []
    apart = 1
    for key in keys:
        told = len({tuple(of.get(word) for word in (*words, key)) for of in settings})
        if told > apart:
            words, apart = [*words, key], told
    return [word.removeprefix("axes.") for word in words]
