"""What Slurm sends before a time limit saves the run, or the study, and queues the job again."""

import os
import signal
from pathlib import Path

import pytest
from processes import launched
from records import checkpoint, status_of
from stopping import stopping

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("study", [False, True], ids=["single", "study"])
def test_a_job_before_its_time_limit_is_queued_again_once(tmp_path: Path, study: bool) -> None:
    scontrol = tmp_path / "scontrol"
    scontrol.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\n')
    scontrol.chmod(0o755)
    where = tmp_path / "run"
    stop = stopping(signal.SIGUSR1, to_launcher=study)
    words = [*stop, f"hydra.run.dir={where}"]
    if study:
        words = ["-m", *stop, f"hydra.sweep.dir={tmp_path}/study", "hydra.sweep.subdir=job"]
        where = tmp_path / "study" / "job"
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    launch = launched(tmp_path, *words, variables={"SLURM_JOB_ID": "77", "PATH": path})
    printed, _ = launch.communicate(timeout=200)
    assert launch.returncode == 128 + signal.SIGUSR1, printed
    assert (tmp_path / "calls").read_text() == "requeue 77\n"
    status = status_of(where)
    assert (status.state, status.error) == ("interrupted", "SIGUSR1")
    assert checkpoint(where)["global_step"] == status.steps == 1
