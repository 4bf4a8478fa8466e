"""Convert a run's configuration to the keys by which W&B groups and filters, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gradflow.runs.config import RunConfig

# Axes of which W&B gets only the choices; config.yaml has a sentence on each choice, too.
_CHOICES_ONLY = ("pathology", "remedy")
_ADDED_KEYS = ("settings", "study", "folder", "git")


def compared(config: RunConfig) -> dict[str, Any]:
    """Return a run's config for W&B.

    Each axis and each single value is a key at the top: `remedy`, `activation`, `lr`, `seed`. The
    values of the choices, such as an optimizer's arguments, are below `settings`.
    """
    ignored = {key for key in config.comparison.ignored_keys if "." not in key}
    values = config.model_dump(exclude={"axes", "logger", "project", *ignored})
    chosen = {axis: choice for axis, choice in config.axes.items() if axis in values}
    settings = {axis: values.pop(axis) for axis in (*chosen, "comparison")}
    for axis in _CHOICES_ONLY:
        settings.pop(axis, None)
    settings["axes"] = list(chosen)  # W&B drops empty nodes, and a choice's may be empty
    return chosen | values | {"study": config.study and config.study.name, "settings": settings}


def restored(values: Mapping[str, Any]) -> dict[str, Any]:
    """Undo `compared`: return config.yaml's form, as far as W&B has kept the values."""
    settings = values.get("settings")
    settings = dict(settings) if isinstance(settings, Mapping) else {}
    named = settings.pop("axes", None) or [*_CHOICES_ONLY, *settings]
    axes = {axis: str(values[axis]) for axis in named if axis in values}
    single = {k: v for k, v in values.items() if k not in axes and k not in _ADDED_KEYS}
    choices = {axis: dict.fromkeys(_chosen(axes.get(axis, "none")), "") for axis in _CHOICES_ONLY}
    study = {"name": values["study"]} if values.get("study") else None
    return single | settings | choices | {"study": study, "axes": axes}


def _chosen(choice: str) -> list[str]:
    return [] if choice == "none" else choice.split("+")
