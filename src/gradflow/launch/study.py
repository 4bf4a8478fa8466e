"""Hydra's callback for a multirun: its progress, table and page, and exit status 1 for failures.

Hydra does not report which jobs failed. The jobs catch their own errors, so that Hydra would not
even report that one did.
"""

from __future__ import annotations

import logging
import math
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn, cast

from filelock import FileLock
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, RangeSweep
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from gradflow.comparison.answer import answers
from gradflow.comparison.configurations import configurations
from gradflow.comparison.objective import best, best_first
from gradflow.comparison.own_figures import load_figures
from gradflow.comparison.page import build_page
from gradflow.comparison.page.overlays import load_overlays
from gradflow.comparison.table import print_table
from gradflow.errors import ConfigError
from gradflow.launch.display import Display
from gradflow.launch.launches import VARIABLE, Launch
from gradflow.launch.naming import quoted, typed
from gradflow.launch.one_line import one_line
from gradflow.launch.plugins import register
from gradflow.launch.requeue import wait_for_all
from gradflow.launch.resolvers import overridden_keys, task_overrides
from gradflow.launch.search import command_line, is_search, prepare
from gradflow.runs.config import Logger
from gradflow.runs.read import Run, read_runs
from gradflow.runs.rerun import has_code
from gradflow.runs.status import Status, git_state
from gradflow.runs.wandb_environment import refuse_in_study, with_environment
from gradflow.training.ranks import started_from_outside

register()  # on import: a launcher's worker process imports this file first
log = logging.getLogger(__name__)
PAGE = "compare.html"
MOST_JOBS = 100_000  # Hydra makes a list of them all before the first one begins


@contextmanager
def _reporting(failure: str) -> Iterator[None]:
    """Print an exception as one line; a missing table or page does not change the exit status.

    Hydra would turn the exception into a warning, and the exit status into 0.
    """
    try:
        yield
    except Exception as error:
        log.debug("%s", failure, exc_info=True)
        with suppress(OSError):  # the terminal is gone
            print(f"{failure}: {type(error).__name__}: {error}".splitlines()[0], file=sys.stderr)


def _refuse(config: DictConfig, message: str) -> NoReturn:
    """End the launch; the folder that the preflight has made is removed, if nothing is in it."""
    folder = Path(config.hydra.sweep.dir)
    with suppress(OSError):
        folder.rmdir()
        folder.parent.rmdir()
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)


def _page(runs: list[Run], folder: Path, config: DictConfig) -> Path:
    overlays = load_overlays(_paths(config, "overlays"))
    figures = load_figures(_paths(config, "figures"))
    return build_page(
        runs, folder / PAGE, title=f"study {folder.name}", overlays=overlays, figures=figures
    )


def _paths(config: DictConfig, name: str) -> list[str]:
    """Return the import paths in `comparison`, of which an older conf/run.yaml may have none."""
    comparison = config.comparison
    if not isinstance(comparison, DictConfig):
        raise ConfigError(f"comparison={comparison}: must be settings")
    found = comparison.get(name)
    if found is not None and not isinstance(found, ListConfig):
        raise ConfigError(f"comparison.{name}={found}: must be a list of import paths")
    return [str(path) for path in found or []]


def _check_logger(config: DictConfig) -> None:
    """Raise ConfigError for what W&B would refuse of every job."""
    if not isinstance(config.logger, DictConfig):
        raise ConfigError(
            f"logger={config.logger}: must be settings; a file chooses by `override /logger: …`"
        )
    node = OmegaConf.to_container(config.logger, resolve=True)
    if not isinstance(node, dict):
        return
    logger = with_environment({str(k): v for k, v in node.items()}, overridden_keys(config.hydra))
    refuse_in_study(logger, config.study.name)
    Logger.check(logger, "logger")


class StudyEnd(Callback):
    """Before a study's jobs: check what they share. After them: table, page and exit status 1.

    Launchers send this object to their workers, so it holds nothing.
    """

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Check the settings that all jobs share, before the first folder is made."""
        global running
        if started_from_outside():
            _refuse(
                config,
                "a study is launched by one process: with -m, torchrun and srun with several tasks "
                "are not allowed; docs/studies.md has launchers that start each run's processes",
            )
        try:
            load_overlays(_paths(config, "overlays"))
            load_figures(_paths(config, "figures"))
            _check_logger(config)
            search = prepare(config) if is_search(config) else None
            total = config.hydra.sweeper.n_trials if search else job_count(config)
            launch = running.launch if running else Launch.new(Path(config.hydra.sweep.dir))
            # Hydra composes each job anew, where it runs, from these overrides and the job's own.
            config.hydra.overrides.hydra.append(
                f"+hydra.job.env_set.{VARIABLE}={quoted(str(launch.path))}"
            )
        except ConfigError as error:
            _refuse(config, str(error))
        except OmegaConfBaseException as error:  # a reference that cannot be resolved
            _refuse(config, one_line(error))
        except OSError as error:
            _refuse(config, f"{config.hydra.sweep.dir}: {error.strerror}")
        except Exception:
            traceback.print_exc()  # Hydra would warn, and launch jobs that nobody counts
            sys.exit(1)
        wait_for_all(config)
        running = Study(config, launch, total, search)

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Report on all runs in the study's folder, those of earlier launches included."""
        global running
        assert running is not None
        study = running
        try:
            if study.end_pass():
                return
            study.report()
        except OSError:  # the terminal is gone
            log.debug("no report", exc_info=True)
        running = None
        if any(job.is_lost for job in study.launch.jobs()):
            sys.exit(1)


class Study:
    """The study that this process launches, and its progress on the terminal."""

    def __init__(
        self, config: DictConfig, launch: Launch, total: int | None, search: FileLock | None
    ) -> None:
        self.launch = launch
        self._search = search  # the lock of a search, which is held until the process ends
        self._config = config
        self._name, self._folder = str(config.study.name), Path(config.hydra.sweep.dir)
        self._display = Display(launch, total)
        self._display.start()

    def end_pass(self) -> bool:
        """End the display. Say whether a second pass begins, since jobs died or were deferred."""
        self._display.stop()
        again = [job.name for job in self.launch.jobs() if job.is_open and not self._search]
        if repeats and again and not self.launch.is_stopped:
            print(f"once more: {' '.join(again)}", file=sys.stderr)
            self.launch.begin_second_pass()
            return True
        return False

    @property
    def how_to_continue(self) -> str:
        """What to tell a user who has interrupted the study."""
        return f"the same command line with {typed('study.name', self._name)} continues"

    def words_to_repeat(self) -> list[str]:
        """Return what the command line needs to launch the same study in the same folder."""
        quiet = "++hydra.hydra_logging.root.level=WARNING"  # the same list of jobs again
        folder = quoted(str(self._folder))
        return [f"study.name={quoted(self._name)}", f"hydra.sweep.dir={folder}", quiet]

    def report(self) -> None:
        """Print the study's table and what the launch has to say, and write the page."""
        runs = read_runs([self._folder])
        if runs:
            with _reporting("no table"):
                title = f"study {self._name} in {self._folder}"
                keys, rows = configurations(runs)
                if self._search:
                    rows = best_first(rows)
                    runs = [run for row in rows for run in row.runs]  # the page's order as well
                print_table(keys, rows, title=title)
                for sentence in answers(keys, rows):
                    print(sentence)
                if self._search and (found := best(rows)) is not None:
                    print(f"best: {command_line(found)}")
            with _reporting("no page"):
                print(f"page: {_page(runs, self._folder, self._config)}")
        for job in self.launch.jobs():
            if job.state == "refused":
                print(f"refused: {job.name}: {job.text}")
        skipped = [job for job in self.launch.jobs() if job.state == "skipped"]
        code = git_state() if skipped else {}
        records = [Status.read(Path(job.folder)) for job in skipped]
        others = [status for status in records if status and not has_code(status, code)]
        if others:
            print(
                f"{len(others)} of {len(skipped)} runs that were finished before were computed by "
                "other code; rerun=changed computes them anew"
            )
        stopped = [run for run in runs if run.state == "stopped" and run.steps]
        saved = sum(run.seconds / run.steps * (_steps(run) - run.steps) for run in stopped)
        if stopped:
            print(f"{len(stopped)} stopped runs saved {saved:.0f} s, by their own pace")
        if self.launch.is_stopped:
            print(f"further jobs were not begun: {self.launch.why_stopped}")


def _steps(run: Run) -> int:
    steps = run.config.get("steps")
    return steps if isinstance(steps, int) else run.steps


def job_count(config: DictConfig) -> int | None:
    """Return how many jobs Hydra's own sweeper will launch; None under another one.

    ConfigError if an override cannot be swept.
    """
    if "BasicSweeper" not in str(config.hydra.sweeper._target_):
        return None
    words = [f"{key}={value}" for key, value in (config.hydra.sweeper.params or {}).items()]
    words += task_overrides(config.hydra)
    lengths: dict[str, int] = {}
    try:
        hydra = GlobalHydra.instance().hydra
        loader = hydra.config_loader if hydra else None  # for glob(*)
        for override in OverridesParser.create(loader).parse_overrides(words):
            if override.is_sweep_override():
                key = override.get_key_element()
                lengths[key] = sum(1 for _ in islice(_values(override, key), MOST_JOBS + 1))
    except HydraException as error:
        raise ConfigError(one_line(error)) from error
    if "study.name" in lengths:
        raise ConfigError("study.name: takes one value, since it names the whole study")
    if "study.note" in lengths:
        raise ConfigError("study.note: takes one sentence; with a comma: 'study.note=\"a, b\"'")
    jobs = math.prod(lengths.values())
    if not jobs:
        empty = min(lengths, key=lengths.__getitem__)
        raise ConfigError(f"{empty}: has no value to sweep over")
    if jobs > MOST_JOBS:
        longest = max(lengths, key=lengths.__getitem__)
        raise ConfigError(f"{longest}: makes more than {MOST_JOBS:,} jobs, which a study may have")
    return jobs


def _values(override: Override, key: str) -> Iterator[str]:
    """Yield the values of an axis, as Hydra does, but a shuffled range without a list of it."""
    if not override.is_range_sweep():
        return override.sweep_string_iterator()
    try:
        return map(str, cast(RangeSweep, override.value()).range())
    except ValueError as error:  # range(1, 5, 0)
        raise ConfigError(f"{key}: {error}") from error


# The study that this process is launching, and whether its program can launch it once more.
running: Study | None = None
repeats = False
