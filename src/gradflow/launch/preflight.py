"""Hydra's callback before a launch: check where Hydra is going to write, before it writes there.

A run's folder is new, empty or a run's already, and all that Hydra writes lies in it.
"""

from __future__ import annotations

import contextlib
import copy
import logging.config
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from gradflow.errors import ConfigError
from gradflow.launch import search
from gradflow.launch.launches import FOLDER as LAUNCHES
from gradflow.launch.one_line import one_line
from gradflow.runs.config import STUDY_NAME, study_name_refusal
from gradflow.runs.files import CONFIG, GRADIENTS, LOCK, LOG, OVERRIDES, REFUSAL, STATUS
from gradflow.runs.places import check_place

_OF_A_RUN = {CONFIG, GRADIENTS, LOCK, LOG, REFUSAL, STATUS, Path(OVERRIDES).parent.name}
_OF_A_STUDY = {"multirun.yaml", ".submitit", LAUNCHES, search.TRIALS, search.LOCK}
_SECRET = re.compile("KEY|TOKEN|SECRET|PASSWORD")
_OUTPUT_SUBDIR = Path(OVERRIDES).parent.name


class Preflight(Callback):
    """End the launch with one line and exit status 2 where Hydra's settings cannot work."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Check a single run's settings."""
        _exit_if_refused(lambda: _check(config, "hydra.run.dir", _OF_A_RUN))

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Check those that all jobs of a multirun share."""
        _exit_if_refused(lambda: _check_study(config))


def _exit_if_refused(check: Callable[[], None]) -> None:
    try:
        check()
    except ConfigError as error:  # Hydra would turn any exception into a warning
        message = str(error)
    except Exception as error:
        message = one_line(error)
    else:
        return
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)


def _check_study(config: DictConfig) -> None:
    name = str(config.study.name)
    if not re.fullmatch(STUDY_NAME, name):
        raise ConfigError(study_name_refusal(name))
    _check(config, "hydra.sweep.dir", _OF_A_STUDY)


def _check(config: DictConfig, key: str, own: set[str]) -> None:
    before = HydraConfig.instance().cfg
    HydraConfig.instance().set_config(config)  # for ${hydra:…}
    try:
        folder = check_place(key, OmegaConf.select(config, key))
        _check_content(f"{key}={folder}", folder, own | {f"{config.hydra.job.name}.log"})
        if key == "hydra.sweep.dir":
            subdir = OmegaConf.to_container(config.hydra.sweep, resolve=False)["subdir"]  # type: ignore[call-overload,index]
            if Path(check_place("hydra.sweep.subdir", subdir)).is_absolute():
                raise ConfigError(f"hydra.sweep.subdir={subdir}: must lie below hydra.sweep.dir")
        if config.hydra.output_subdir != _OUTPUT_SUBDIR:
            raise ConfigError(
                f"hydra.output_subdir={config.hydra.output_subdir}: must be {_OUTPUT_SUBDIR}, "
                "where a run's record has its overrides"
            )
        for name in config.hydra.job.env_set:
            if _SECRET.search(str(name).upper()):
                raise ConfigError(
                    f"hydra.job.env_set.{name}: would be written to every run's folder; "
                    "set it in the shell"
                )
        _check_logging(config, folder.resolve())
        _make(f"{key}={folder}", folder)
    finally:
        HydraConfig.instance().cfg = before
        OmegaConf.set_readonly(config.hydra, None)  # `set_config` has made it so


def _check_content(setting: str, folder: Path, own: set[str]) -> None:
    """Refuse a folder of other files, such as the repository."""
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if names and not names & own:
        raise ConfigError(
            f"{setting}: holds other files, such as {min(names)}; allowed: a new folder, "
            "an empty one, or one that a launch has made"
        )


def _make(setting: str, folder: Path) -> None:
    """Make the folder and a file in it: only the system knows what it refuses.

    A folder in which that fails is removed again. One that stays is what Hydra makes next.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b" ")
    except OSError as error:
        for path in made:
            with contextlib.suppress(OSError):
                path.rmdir()
        raise ConfigError(f"{setting}: {error.strerror}") from error


def _check_logging(config: DictConfig, folder: Path) -> None:
    """Configure the jobs' logging once, without its files."""
    shown = copy.deepcopy(config)
    with read_write(shown.hydra.runtime), open_dict(shown.hydra.runtime):
        shown.hydra.runtime.output_dir = str(folder)
    try:
        settings: Any = OmegaConf.to_container(shown.hydra.job_logging, resolve=True)
    except Exception as error:
        raise ConfigError(f"hydra.job_logging: {one_line(error)}") from error
    if settings is None:  # hydra/job_logging=none
        return
    try:
        for name, handler in settings.get("handlers", {}).items():
            if (file := handler.pop("filename", None)) is not None:
                handler["class"], _ = "logging.NullHandler", handler.pop("mode", None)
                for option in ("delay", "encoding", "maxBytes", "backupCount", "when"):
                    handler.pop(option, None)
                if not Path(str(file)).resolve().is_relative_to(folder):
                    raise ConfigError(
                        f"hydra.job_logging.handlers.{name}.filename={file}: "
                        "must lie in the run's folder"
                    )
        logging.config.dictConfig(settings)
    except (ValueError, TypeError, AttributeError, ImportError) as error:
        if isinstance(error, ConfigError):
            raise
        cause = f": {one_line(error.__cause__)}" if error.__cause__ else ""
        raise ConfigError(
            f"hydra.job_logging: {one_line(error)}{cause}; "
            "hydra/job_logging=default and hydra/job_logging=stdout work"
        ) from error
