"""A run's configuration in the words by which W&B groups, filters and compares, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gradflow.runs.config import RunConfig

# What only the words of a choice say on W&B: in config.yaml a sentence stands on each.
_WORDS = ("pathology", "remedy")
_ADDED = ("settings", "study", "folder", "git")


def compared(config: RunConfig) -> dict[str, Any]:
    """Return what a run's config on W&B is.

    Each axis and each single value is a word at the top: `remedy`, `activation`, `lr`, `seed`. What
    the choices stand for, such as an optimizer's own arguments, is below `settings`.
    """
    ignored = {key for key in config.comparison.ignored_keys if "." not in key}
    values = config.model_dump(exclude={"axes", "logger", "project", *ignored})
    chosen = {axis: choice for axis, choice in config.axes.items() if axis in values}
    settings = {axis: values.pop(axis) for axis in (*chosen, "comparison")}
    for axis in _WORDS:
        settings.pop(axis, None)
    settings["axes"] = list(chosen)  # W&B drops what is empty, as the node of a choice may be
    return chosen | values | {"study": config.study and config.study.name, "settings": settings}


def restored(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return config.yaml's form of what `compared` made, as far as W&B has kept it."""
    settings = values.get("settings")
    settings = dict(settings) if isinstance(settings, Mapping) else {}
    named = settings.pop("axes", None) or [*_WORDS, *settings]
    axes = {axis: str(values[axis]) for axis in named if axis in values}
    single = {k: v for k, v in values.items() if k not in axes and k not in _ADDED}
    words = {axis: dict.fromkeys(_chosen(axes.get(axis, "none")), "") for axis in _WORDS}
    study = {"name": values["study"]} if values.get("study") else None
    return single | settings | words | {"study": study, "axes": axes}


def _chosen(words: str) -> list[str]:
    return [] if words == "none" else words.split("+")
