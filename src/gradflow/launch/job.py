"""Run one Hydra job: train the composed configuration in the job's own folder.

A single run is trained in this process; a job of a study in a process of its own (`study_job.py`).
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from gradflow.errors import ConfigError
from gradflow.gradients.verdict import Verdict
from gradflow.launch.naming import run_name, short, typed
from gradflow.launch.resolvers import task_overrides
from gradflow.launch.study_job import run_study_job
from gradflow.runs.files import is_claimed

log = logging.getLogger(__name__)


def run_job(composed: DictConfig) -> float | None:
    """Run one job; return what Hydra's sweeper is told of it."""
    hydra = HydraConfig.get()
    if hydra.job.chdir:
        os.chdir(hydra.runtime.cwd)  # where the paths of a configuration begin, such as data.root
    if hydra.mode == RunMode.MULTIRUN:
        return run_study_job(composed)
    with _hint_to_continue(typed("hydra.run.dir", str(hydra.run.dir))):
        _run_alone(composed, Path(hydra.runtime.output_dir), run_name())
    return None


@contextlib.contextmanager
def _hint_to_continue(override: str) -> Iterator[None]:
    """If the run is stopped, print the override that continues it on the same command line."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit) as stop:
        with contextlib.suppress(OSError):  # the terminal is gone
            print(f"interrupted; the same command line with {override} continues", file=sys.stderr)
        sys.exit(130 if isinstance(stop, KeyboardInterrupt) else stop.code)


def _run_alone(composed: DictConfig, folder: Path, name: str) -> None:
    from gradflow.launch.compose import from_hydra, project_of  # imports torch, which takes seconds

    try:
        _refuse_a_study_of_one()
        project = project_of(composed)
        config = from_hydra(composed, project.config).model_copy(update={"study": None})
        metrics = project.train(config, folder, name)
    except ConfigError:
        _remove_what_hydra_wrote(folder)
        raise
    verdict = Verdict.read(folder)
    log.info("%s: %s", name, short(metrics, config.comparison.headline.metric, None))
    if verdict is not None:
        log.info("%s (confidence %.0f %%)", verdict, 100 * verdict.confidence)
        if verdict.remedies:
            log.info("to try, in this order: %s", "  ".join(map(_quoted, verdict.remedies)))
    log.info("record: %s", folder)


def _refuse_a_study_of_one() -> None:
    for override in task_overrides(HydraConfig.get()):
        if override.startswith("study.name="):
            raise ConfigError(f"{override}: names a study, and this is a single run; add -m")


def _remove_what_hydra_wrote(folder: Path) -> None:
    """Remove the folder that Hydra made for a refused run, if nothing else is in it.

    The user may have named an existing folder. So only files with names that this launch writes are
    removed, and a folder only if it is then empty.
    """
    hydra_folder = folder / ".hydra"
    if is_claimed(folder):  # another process has begun a run there
        return
    written = {hydra_folder, folder / f"{HydraConfig.get().job.name}.log", folder / ".lock"}
    inside = {hydra_folder / f"{name}.yaml" for name in ("config", "hydra", "overrides")}
    if not set(folder.iterdir()) <= written or not set(hydra_folder.glob("*")) <= inside:
        return
    for path in (*inside, *(written - {hydra_folder})):
        path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        hydra_folder.rmdir()
        folder.rmdir()


def _quoted(override: str) -> str:
    """Quote an override for a shell."""
    return f"'{override}'" if "[" in override else override
