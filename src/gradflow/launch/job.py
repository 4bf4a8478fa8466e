"""Run one Hydra job: train the composed configuration in the job's own folder.

A failed job of a multirun must not stop the others, and Hydra's launchers leave its log empty. Here
its traceback is logged, and the failure is written to status.json for the study's table.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from gradflow.errors import ConfigError
from gradflow.gradients.verdict import Verdict
from gradflow.launch.compose import from_hydra, project_of
from gradflow.launch.resolvers import swept_overrides
from gradflow.runs.files import REFUSAL, STATUS, RunBusyError
from gradflow.runs.status import Status, now, write_refusal

log = logging.getLogger(__name__)


def run_job(composed: DictConfig) -> dict[str, float] | None:
    """Run one job and return its metrics; None for a job of a multirun that failed."""
    hydra = HydraConfig.get()
    folder = Path(hydra.runtime.output_dir)
    in_study = hydra.mode == RunMode.MULTIRUN
    name = run_name()
    if not in_study:
        with _hint_to_continue(f"hydra.run.dir={hydra.run.dir}"):
            return _run_alone(composed, folder, name)
    begun = now()
    try:
        (folder / REFUSAL).unlink(missing_ok=True)
        with _hint_to_continue(f"study.name={composed.study.name}"):
            project = project_of(composed)
            config = from_hydra(composed, project.config)
            metrics = project.train(config, folder, name)
    except RunBusyError as error:
        log.warning("%s; left to that process", error)
        return None
    except Exception as error:
        _record_failure(folder, error, begun)
        # An error that the user can fix needs one line, any other its traceback.
        log.error("%s failed: %s", name, error, exc_info=not isinstance(error, ConfigError))
        return None
    log.info(
        "%s: %s", name, _short(metrics, config.comparison.headline.metric, Verdict.read(folder))
    )
    return metrics


@contextlib.contextmanager
def _hint_to_continue(override: str) -> Iterator[None]:
    """If the run is stopped, print the override that continues it on the same command line."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit) as stop:
        print(f"interrupted; the same command line with {override} continues", file=sys.stderr)
        sys.exit(130 if isinstance(stop, KeyboardInterrupt) else stop.code)


def _run_alone(composed: DictConfig, folder: Path, name: str) -> dict[str, float]:
    try:
        _refuse_a_study_of_one()
        project = project_of(composed)
        config = from_hydra(composed, project.config).model_copy(update={"study": None})
        metrics = project.train(config, folder, name)
    except ConfigError:
        _remove_what_hydra_wrote(folder)
        raise
    verdict = Verdict.read(folder)
    log.info("%s: %s", name, _short(metrics, config.comparison.headline.metric, None))
    if verdict is not None:
        log.info("%s (confidence %.0f %%)", verdict, 100 * verdict.confidence)
        if verdict.remedies:
            log.info("to try, in this order: %s", "  ".join(map(_quoted, verdict.remedies)))
    log.info("record: %s", folder)
    return metrics


def _refuse_a_study_of_one() -> None:
    for override in HydraConfig.get().overrides.task:
        if override.startswith("study.name="):
            raise ConfigError(f"{override}: names a study, and this is a single run; add -m")


def _record_failure(folder: Path, error: Exception, begun: str) -> None:
    """Write the failure to the folder; the record of an earlier run in it stays unchanged."""
    first = f"{type(error).__name__}: {error}".splitlines()[0]
    status = Status.read(folder)
    if status is None and not (folder / STATUS).exists():
        Status("failed", end=now(), error=first).write(folder)
    elif status is None or status.state != "failed" or status.start < begun:
        write_refusal(folder, first)  # before training began


def _remove_what_hydra_wrote(folder: Path) -> None:
    """Remove the folder that Hydra made for a refused run, if nothing else is in it.

    The user may have named an existing folder. So only files with names that this launch writes are
    removed, and a folder only if it is then empty.
    """
    hydra_folder = folder / ".hydra"
    written = {hydra_folder, folder / f"{HydraConfig.get().job.name}.log", folder / ".lock"}
    inside = {hydra_folder / f"{name}.yaml" for name in ("config", "hydra", "overrides")}
    if not set(folder.iterdir()) <= written or not set(hydra_folder.glob("*")) <= inside:
        return
    for path in (*inside, *(written - {hydra_folder})):
        path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        hydra_folder.rmdir()
        folder.rmdir()


def run_name() -> str:
    """Name the running job by its overrides; in a multirun, by the swept overrides only."""
    hydra = HydraConfig.get()
    in_study = hydra.mode == RunMode.MULTIRUN
    overrides = swept_overrides(hydra) if in_study else list(hydra.overrides.task)
    overrides = [override for override in overrides if not override.startswith("study")]
    return ",".join(overrides) or "default"


def _short(metrics: dict[str, float], headline: str, verdict: Verdict | None) -> str:
    keys = ("train/loss", *(f"{split}/{headline}" for split in ("train", "validation", "test")))
    figures = [f"{key} {metrics[key]:.3f}" for key in dict.fromkeys(keys) if key in metrics]
    return ", ".join([*figures, *([verdict.kind] if verdict else [])])


def _quoted(override: str) -> str:
    """Quote an override for a shell."""
    return f"'{override}'" if "[" in override else override
