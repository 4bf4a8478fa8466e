"""A run's configuration as flat words, and which of them tell runs apart.

It knows configurations as plain dicts, as config.yaml holds them; nothing of Hydra's composing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

# Keys that no run differs in: where it is logged, what it belongs to, and what is said again.
_NOT_SETTINGS = ("axes", "comparison", "logger", "project", "study")
# In this order, before all else: what a run is called by.
_FIRST = ("case", "pathology", "remedy")


class HasSettings(Protocol):
    """Whatever has the settings of a run, and knows which of them were typed."""

    @property
    def settings(self) -> Mapping[str, Any]: ...  # noqa: D102
    @property
    def typed(self) -> tuple[str, ...]: ...  # noqa: D102


def numbers(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return by dotted key every value that may change a number of the run.

    The others say where a run is logged and how it is compared, or stand in its own
    `comparison.ignored_keys`.
    """
    ignored = (*_NOT_SETTINGS, *ignored_keys(config))
    flat: dict[str, Any] = {}

    def walk(prefix: str, values: Mapping[str, Any]) -> None:
        for key, value in values.items():
            word = f"{prefix}.{key}" if prefix else str(key)
            if word in ignored:
                continue
            if isinstance(value, Mapping) and value:
                walk(word, value)
            else:
                flat[word] = value

    walk("", config)
    return flat


def ignored_keys(config: Mapping[str, Any]) -> Sequence[str]:
    """Return what the configuration itself says changes no number; none in a record without it."""
    comparison = config.get("comparison")
    named = comparison.get("ignored_keys") if isinstance(comparison, Mapping) else None
    return named if isinstance(named, list) else ()


def flatten(config: Mapping[str, Any], axes: Mapping[str, str]) -> dict[str, Any]:
    """Return every setting by the word that sets it: `activation`, `model.depth`, `seed` …

    An axis stands for its choice; what the choice holds follows under dotted words.
    """
    flat: dict[str, Any] = {key: config.get(key, axes.get(key)) for key in _FIRST}
    flat |= {axis: choice for axis, choice in axes.items() if axis not in _NOT_SETTINGS}
    for word, value in numbers(config).items():
        if word not in axes and word.partition(".")[0] not in _FIRST:
            flat[word] = value
    return flat | {key: axes[key] for key in _FIRST if key in axes}


def differing(runs: Sequence[HasSettings]) -> list[str]:
    """Return the words that tell runs apart, `seed` aside: no more of them than that takes.

    A word that was typed is named wherever it differs. Any other only where those before it do not
    already decide it: `remedy=relu` brings an activation and an initialization along, and neither
    is news. Runs of which no setting is known differ in nothing.
    """
    settings = [run.settings for run in runs if any(v is not None for v in run.settings.values())]
    typed = {word for run in runs for word in run.typed}
    words = list(dict.fromkeys(word for of_run in settings for word in of_run))
    varying = [w for w in words if w != "seed" and len({text(of.get(w)) for of in settings}) > 1]
    varying.sort(key=lambda word: word not in typed)  # stable: else in the order of the words
    shown: list[str] = []
    for word in varying:
        known: dict[tuple[str, ...], set[str]] = {}
        for of in settings:
            known.setdefault(tuple(text(of.get(w)) for w in shown), set()).add(text(of.get(word)))
        decided = all(len(values) == 1 for values in known.values())
        if word in typed or not decided:
            shown.append(word)
    return shown


def text(value: Any) -> str:
    """Return a setting as one would type it."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return f"{value:.15g}"  # one text for one number: 0 and 0.0
    if isinstance(value, list):
        return f"[{','.join(text(item) for item in value)}]"
    return str(value)
