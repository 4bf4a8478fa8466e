"""Apply W&B's environment variables to a run's logger settings, or refuse them in one line.

An override on the command line wins over the environment, and the environment over conf/. Variables
that only W&B itself needs, such as WANDB_NOTES or WANDB_JOB_TYPE, are left to its client.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from gradflow.errors import ConfigError

_MODES = {
    "online": "online",
    "run": "online",
    "offline": "offline",
    "dryrun": "offline",
    "disabled": "none",
}
# Ways to continue a W&B run that is not this folder's; see `wandb_run.start_run`.
_CONTINUING = ("WANDB_RESUME", "WANDB_RESUME_FROM", "WANDB_FORK_FROM")
_MOST_CHARACTERS = {"WANDB_NAME": 128, "WANDB_RUN_GROUP": 128, "WANDB_JOB_TYPE": 64}


def with_environment(logger: Mapping[str, Any], overridden: Collection[str]) -> dict[str, Any]:
    """Return the values of a configuration's logger, with those that the environment sets.

    `overridden` has the keys of the command line's overrides, which the environment leaves alone.

    Raises:
        ConfigError: if a variable has a value that W&B or a run's folder does not allow.
    """
    values = dict(logger)
    if "logger" not in overridden and "logger.mode" not in overridden:
        values["mode"] = _mode(values.get("mode"))
    if values.get("mode") == "none":
        return values
    for key, found in (
        ("project", os.environ.get("WANDB_PROJECT")),
        ("entity", os.environ.get("WANDB_ENTITY")),
        ("tags", _tags()),
    ):
        if found and f"logger.{key}" not in overridden:
            values[key] = found
        elif is_in_sweep() and key != "tags" and found and values.get(key) != found:
            raise ConfigError(
                f"logger.{key}={values.get(key)}: the agent's sweep belongs to {found}; "
                f"leave out logger.{key}"
            )
    _check()
    return values


def refuse_in_study(logger: Mapping[str, Any], study: str) -> None:
    """Raise ConfigError for variables that would give all runs of a study one id or name."""
    if logger.get("mode") == "none":
        return
    if is_in_sweep():
        raise ConfigError(
            f"WANDB_SWEEP_ID={os.environ['WANDB_SWEEP_ID']}: a W&B agent's job is one run, and "
            "this is a study of many; leave out -m, and let the sweep's parameters vary"
        )
    for name in ("WANDB_RUN_ID", "WANDB_NAME"):
        if value := os.environ.get(name):
            raise ConfigError(f"{name}={value}: belongs to one run, and a study has many; unset it")
    group = os.environ.get("WANDB_RUN_GROUP") or study
    if group != study:
        raise ConfigError(
            f"WANDB_RUN_GROUP={group}: a study is its own group in W&B; study.name={group}"
        )


def is_in_sweep() -> bool:
    """Say whether an agent of a W&B sweep has started this process."""
    return bool(os.environ.get("WANDB_SWEEP_ID"))


def wandb_folder(folder: Path) -> Path:
    """Return the folder for W&B's own files: the run's, or the one that WANDB_DIR names.

    An agent sets WANDB_DIR to its working directory, which nobody asked for.
    """
    named = os.environ.get("WANDB_DIR")
    if not named or (is_in_sweep() and Path(named).resolve() == Path.cwd()):
        return folder
    return Path(named)


def settings_not_in_environment(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of W&B's settings whose variable, such as WANDB_CONSOLE, is not set."""
    return {key: v for key, v in settings.items() if f"WANDB_{key.upper()}" not in os.environ}


def _mode(mode: Any) -> Any:
    """Return the logger's mode; no variable turns on what the configuration has turned off."""
    if mode == "none":
        return mode
    if os.environ.get("WANDB_DISABLED", "").lower() in ("1", "true", "yes", "on"):
        return "none"
    wanted = os.environ.get("WANDB_MODE") or None
    if wanted is None:
        return mode
    if wanted not in _MODES:
        raise ConfigError(f"WANDB_MODE={wanted}: allowed: {', '.join(_MODES)}")
    return _MODES[wanted]


def _tags() -> list[str] | None:
    tags = os.environ.get("WANDB_TAGS")
    return tags.split(",") if tags else None


def _check() -> None:
    for name in _CONTINUING:
        if value := os.environ.get(name):
            raise ConfigError(
                f"{name}={value}: a run is continued in its folder, with hydra.run.dir=… or "
                f"study.name=…, and keeps its W&B id; unset {name}"
            )
    for name, most in _MOST_CHARACTERS.items():
        value = os.environ.get(name, "")
        if len(value) > most:
            raise ConfigError(f"{name}={value}: must have at most {most} characters")
    run_id = os.environ.get("WANDB_RUN_ID", "")
    if run_id != run_id.strip() or set(run_id) & set(":;,#?/'"):
        raise ConfigError(f"WANDB_RUN_ID={run_id}: must have no spaces at its ends, nor :;,#?/'")
    named = os.environ.get("WANDB_DIR")
    if named and not (Path(named).is_dir() and os.access(named, os.W_OK)):
        raise ConfigError(f"WANDB_DIR={named}: must be a folder in which you may write")
