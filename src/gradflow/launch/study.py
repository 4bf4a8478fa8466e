"""Hydra's callback for a multirun: print a table, write a page, exit with 1 if a job failed.

Hydra does not report which jobs failed. The jobs catch their own errors, so that Hydra would not
even report that one did.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from gradflow.comparison.configurations import configurations
from gradflow.comparison.page import build_page
from gradflow.comparison.page.overlays import load_overlays
from gradflow.comparison.table import print_table
from gradflow.errors import ConfigError
from gradflow.launch.plugins import register
from gradflow.runs.config import STUDY_NAME, study_name_refusal
from gradflow.runs.files import REFUSAL
from gradflow.runs.read import Run, read_runs
from gradflow.runs.status import now

register()  # on import: a launcher's worker process imports this file first
log = logging.getLogger(__name__)
PAGE = "compare.html"


@contextmanager
def _reporting(failure: str) -> Iterator[None]:
    """Print an exception as one line; a missing table or page does not change the exit status.

    Hydra would turn the exception into a warning, and the exit status into 0.
    """
    try:
        yield
    except Exception as error:
        log.debug("%s", failure, exc_info=True)
        print(f"{failure}: {type(error).__name__}: {error}".splitlines()[0], file=sys.stderr)


def _exit_with(message: str) -> NoReturn:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)


def _page(runs: list[Run], folder: Path, config: DictConfig) -> Path:
    overlays = load_overlays(list(config.comparison.overlays))
    return build_page(runs, folder / PAGE, title=f"study {folder.name}", overlays=overlays)


class StudyEnd(Callback):
    """Print the study's table and write its page; exit with 1 if a job of this launch failed."""

    def __init__(self) -> None:
        self._start = now()

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Check the settings that all jobs share, before the first folder is made."""
        name = str(config.study.name)
        if not re.fullmatch(STUDY_NAME, name):
            # Hydra would turn any other exception into a warning.
            _exit_with(study_name_refusal(name))
        try:
            load_overlays(list(config.comparison.overlays))
        except ConfigError as error:
            _exit_with(str(error))

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Report on all runs in the study's folder, those of earlier launches included."""
        folder = Path(config.hydra.sweep.dir)
        runs = read_runs([folder])
        if not runs:
            return
        # A running run is not lost: another launch of the same study computes it.
        kept = ("finished", "running")
        lost = [run for run in runs if run.state not in kept and run.start >= self._start]
        refused = [path for path in sorted(folder.rglob(REFUSAL)) if self._is_of_this_launch(path)]
        with _reporting("no table"):
            print_table(*configurations(runs), title=f"study {config.study.name} in {folder}")
        with _reporting("no page"):
            print(f"page: {_page(runs, folder, config)}")
        for path in refused:
            print(f"refused: {json.loads(path.read_text())['error']}")
        if lost or refused:
            sys.exit(1)

    def _is_of_this_launch(self, refusal: Path) -> bool:
        return bool(json.loads(refusal.read_text())["time"] >= self._start)
