"""A finished run that is met again: the same settings, the same code, or to be computed anew."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from gradflow.errors import ConfigError
from gradflow.runs.config import read_config
from gradflow.runs.files import CONFIG, LOCK, STATUS
from gradflow.runs.settings import result_settings
from gradflow.runs.status import Status

EARLIER = ".earlier"


def has_settings(folder: Path, config: Mapping[str, Any]) -> bool:
    """Say whether the folder's run was computed with these settings, as far as plain data tell.

    A key that the record lacks is one that the version which wrote it did not know.
    """
    try:
        recorded = result_settings(read_config(folder / CONFIG))
    except ConfigError:
        return False

    def has(key: str, value: Any) -> bool:
        if key in recorded:
            return bool(recorded[key] == value)
        # Unless it is only written otherwise: `callbacks: {}`, and `callbacks.timer.duration`.
        return not any(
            known.startswith(f"{key}.") or key.startswith(f"{known}.") for known in recorded
        )

    return all(has(key, value) for key, value in result_settings(config).items())


def has_code(status: Status, code: Mapping[str, str | bool | None]) -> bool:
    """Say whether a run was computed by the code that `git_state` describes; None is no change."""
    if status.git.get("commit") is None or code.get("commit") is None:
        return True
    return status.git == code


def set_aside(folder: Path) -> None:
    """Move the files of a run to `.earlier/<time>/` in its folder, where no table finds them."""
    place = folder / EARLIER / f"{datetime.now():%Y-%m-%d_%H-%M-%S-%f}"
    place.mkdir(parents=True)
    for path in folder.iterdir():
        # Hydra has written its own files for the new run.
        if path.name not in (EARLIER, LOCK, STATUS, ".hydra"):
            path.rename(place / path.name)
    (folder / STATUS).rename(place / STATUS)  # last: until then it is the finished run's folder
