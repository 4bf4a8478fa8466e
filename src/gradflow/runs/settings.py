"""Flatten a run's configuration into settings by key, and find the keys in which runs differ.

Configurations are plain dicts, as in config.yaml. This file knows nothing of Hydra's composition.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

# Keys that make no difference: logging, checkpoints, comparison, the study, copies of other keys.
_NOT_SETTINGS = (
    *("axes", "checkpoint", "comparison", "logger", "project", "study"),
    *("rerun", "fail_fast", "jobs_per_gpu"),
)
# These keys name a run; they come first, in this order.
_FIRST = ("case", "pathology", "remedy")


class HasSettings(Protocol):
    """An object with a run's settings and the keys of its overrides."""

    @property
    def settings(self) -> Mapping[str, Any]: ...  # noqa: D102
    @property
    def overridden_keys(self) -> tuple[str, ...]: ...  # noqa: D102


def result_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return every value that may change a number of the run, by dotted key.

    Leaves out where a run is logged, how it is compared, and the keys in its own
    `comparison.ignored_keys`.
    """
    ignored = (*_NOT_SETTINGS, *ignored_keys(config))
    flat: dict[str, Any] = {}

    def walk(prefix: str, values: Mapping[str, Any]) -> None:
        for key, value in values.items():
            dotted = f"{prefix}.{key}" if prefix else str(key)
            if dotted in ignored:
                continue
            if isinstance(value, Mapping) and value:
                walk(dotted, value)
            else:
                flat[dotted] = value

    walk("", config)
    return flat


def ignored_keys(config: Mapping[str, Any]) -> Sequence[str]:
    """Return the configuration's `comparison.ignored_keys`; empty if it has none."""
    comparison = config.get("comparison")
    named = comparison.get("ignored_keys") if isinstance(comparison, Mapping) else None
    return named if isinstance(named, list) else ()


def flatten(config: Mapping[str, Any], axes: Mapping[str, str]) -> dict[str, Any]:
    """Return every setting by the key that sets it: `activation`, `model.depth`, `seed` …

    The value of an axis is its choice; the choice's own values follow under dotted keys.
    """
    flat: dict[str, Any] = {key: config.get(key, axes.get(key)) for key in _FIRST}
    flat |= {axis: choice for axis, choice in axes.items() if axis not in _NOT_SETTINGS}
    for key, value in result_settings(config).items():
        if key not in axes and key.partition(".")[0] not in _FIRST:
            flat[key] = value
    return flat | {key: axes[key] for key in _FIRST if key in axes}


def differing(runs: Sequence[HasSettings]) -> list[str]:
    """Return the keys that tell runs apart, without `seed`, and no more of them than needed.

    An override that differs is always returned. Any other key is returned only if the keys before
    it do not determine its value: `remedy=relu` also sets an activation and an initialization,
    which would repeat it. Runs without a known setting are ignored.
    """
    settings = [run.settings for run in runs if any(v is not None for v in run.settings.values())]
    overridden = {key for run in runs for key in run.overridden_keys}
    keys = list(dict.fromkeys(key for flat in settings for key in flat))
    varying = [k for k in keys if k != "seed" and len({text(flat.get(k)) for flat in settings}) > 1]
    varying.sort(key=lambda key: key not in overridden)  # stable: otherwise the order stays
    kept: list[str] = []
    for key in varying:
        found: dict[tuple[str, ...], set[str]] = {}
        for flat in settings:
            found.setdefault(tuple(text(flat.get(k)) for k in kept), set()).add(text(flat.get(key)))
        determined = all(len(values) == 1 for values in found.values())
        if key in overridden or not determined:
            kept.append(key)
    return kept


def text(value: Any) -> str:
    """Return a setting as it is written in an override; None as `-`."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return f"{value:.15g}"  # one text for one number: 0 and 0.0
    if isinstance(value, list):
        return f"[{','.join(text(item) for item in value)}]"
    return str(value)
