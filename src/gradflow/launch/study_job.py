"""One job of a study: whether it is to be computed, by which process, and what became of it.

Hydra's launchers call `run_study_job`, in this process or in a worker of theirs, and it hands the
job to a process of its own (`job_process.py`), where `run_here` computes it. A job that fails must
not stop the others: its failure is a record, told of at the end of the study.
"""

from __future__ import annotations

import logging
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from gradflow.errors import ConfigError, RankError
from gradflow.gradients.verdict import Verdict
from gradflow.launch import job_process
from gradflow.launch.launches import Job, Launch
from gradflow.launch.naming import run_name, short
from gradflow.launch.one_line import one_line
from gradflow.launch.search import is_search, trial_value
from gradflow.runs.files import REFUSAL, STATUS, RunBusyError, claimed, is_claimed
from gradflow.runs.rerun import has_code, has_settings, set_aside
from gradflow.runs.status import ENDED, Status, git_state, now, write_refusal
from gradflow.training.worker import follow

log = logging.getLogger(__name__)


def run_study_job(composed: DictConfig) -> float | None:
    """Compute the job that Hydra runs in this process; return what its sweeper is told."""
    if follow():  # the launcher calls every task of a job, and another one leads the run
        return None
    hydra = HydraConfig.get()
    folder, number = Path(hydra.runtime.output_dir), int(hydra.job.num)
    launch = Launch.of_this_process(Path(hydra.sweep.dir))
    job = Job(number, str(folder), run_name())
    if (earlier := launch.job(number)) is not None:
        # In the first pass, a launcher calls a job twice if it was preempted in between.
        goes_on = earlier.is_open or (earlier.state == "interrupted" and not launch.is_second_pass)
        if not goes_on:
            return trial_value(folder, composed)
        job = replace(job, tries=earlier.tries + (earlier.state == "died"))
    if launch.is_stopped:
        return None
    job = _ended(job, composed, launch, defers=earlier is None and not launch.is_second_pass)
    launch.write(job)
    if job.state == "interrupted" and "SUBMITIT_EXECUTOR" in os.environ and not launch.is_stopped:
        sys.exit(1)  # a result would tell submitit that the job is done; it is being queued again
    if composed.get("fail_fast") and job.is_lost:
        launch.stop(f"fail_fast, and {job.name} {job.state}")
    return trial_value(folder, composed)


def _ended(job: Job, composed: DictConfig, launch: Launch, *, defers: bool) -> Job:
    folder, searches = Path(job.folder), is_search(cast(DictConfig, HydraConfig.instance().cfg))
    try:
        values: Any = OmegaConf.to_container(composed, resolve=True)
        known = _without_computing(job, values, defers=defers and not searches)
        if known is not None:
            return known
        (folder / REFUSAL).unlink(missing_ok=True)
        job = job_process.compute(job_process.task(launch, job, values))
    except RunBusyError as error:
        return replace(job, state="left", text=str(error))
    except (ConfigError, OmegaConfBaseException) as error:
        text = one_line(error)
        _record_failure(folder, f"ConfigError: {text}", now())
        return replace(job, state="refused", text=text)
    if job.state == "died" and (job.tries > 1 or searches):
        _record_failure(folder, job.text, now())
    return job


def _without_computing(job: Job, composed: dict[str, Any], *, defers: bool) -> Job | None:
    """Return the record of a job that is not to be computed now; None if it is."""
    folder = Path(job.folder)
    status = Status.read(folder)
    if status is None:
        return None
    if status.state in ENDED and has_settings(folder, composed):
        if composed.get("rerun") == "changed" and not has_code(status, git_state()):
            with claimed(folder):
                if Status.read(folder) == status:  # no other launch has been here
                    set_aside(folder)
            return None
        return replace(job, state="skipped")
    # What was running when everything was killed is the likeliest to kill everything again.
    if defers and status.state == "running" and not is_claimed(folder):
        return replace(job, state="deferred", text="was cut off")
    return None


def run_here(composed: DictConfig, job: Job) -> Job:
    """Train the job in this process and return its record. An interruption passes through."""
    from gradflow.launch.compose import from_hydra, project_of

    folder, begun = Path(job.folder), now()
    try:
        project = project_of(composed)
        config = from_hydra(composed, project.config)
        metrics = project.train(config, folder, job.name)
    except RunBusyError as error:
        log.warning("%s; left to that process", error)
        return replace(job, state="left", text=str(error))
    except ConfigError as error:
        _record_failure(folder, f"{type(error).__name__}: {error}", begun)
        log.error("%s failed: %s", job.name, error)  # the user can fix it: no traceback
        return replace(job, state="refused", text=str(error))
    except RankError as error:
        log.error("%s failed: %s", job.name, error)  # the traceback is in that rank's log
        return replace(job, state="failed", text=str(error))
    except Exception as error:
        _record_failure(folder, f"{type(error).__name__}: {error}".splitlines()[0], begun)
        log.exception("%s failed: %s", job.name, error)
        return replace(job, state="failed", text=f"{type(error).__name__}: {error}".splitlines()[0])
    text = short(metrics, config.comparison.headline.metric, Verdict.read(folder))
    log.info("%s: %s", job.name, text)
    ended = Status.read(folder)
    stopped = ended is not None and ended.state == "stopped"
    return replace(job, state="stopped" if stopped else "finished", text=text)


def _record_failure(folder: Path, error: str, begun: str) -> None:
    """Write the failure to the folder; the record of an earlier run in it stays unchanged."""
    status = Status.read(folder)
    if status is None and not (folder / STATUS).exists():
        Status("failed", end=now(), error=error).write(folder)
    elif status is not None and status.state == "running" and not is_claimed(folder):
        replace(status, state="failed", end=now(), error=error).write(folder)
    elif status is None or status.state != "failed" or status.start < begun:
        write_refusal(folder, error)  # before training began
