"""What Slurm sends before a time limit saves the run, or the study, and queues the job again."""

import os
import subprocess
from pathlib import Path

import pytest
from processes import SMALL_TRAIN, command, environment
from records import checkpoint, status_of

pytestmark = pytest.mark.slow

STOP = """
import os, signal
from torch.nn import ReLU


class Stop(ReLU):
    sent = False

    def forward(self, z):
        if not self.sent:
            self.sent = True
            os.kill(os.{}(), signal.SIGUSR1)
        return super().forward(z)
"""


@pytest.mark.parametrize("study", [False, True], ids=["single", "study"])
def test_a_job_before_its_time_limit_is_queued_again_once(tmp_path: Path, study: bool) -> None:
    (tmp_path / "stop.py").write_text(STOP.format("getppid" if study else "getpid"))
    scontrol = tmp_path / "scontrol"
    scontrol.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\n')
    scontrol.chmod(0o755)
    where = tmp_path / "run"
    words = ["activation._target_=stop.Stop", f"hydra.run.dir={where}"]
    if study:
        words = ["-m", words[0], f"hydra.sweep.dir={tmp_path}/study", "hydra.sweep.subdir=job"]
        where = tmp_path / "study" / "job"
    done = subprocess.run(
        command(SMALL_TRAIN, *words),
        cwd=tmp_path,
        env=environment(tmp_path)
        | {"SLURM_JOB_ID": "77", "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 128 + 10, done.stderr
    assert (tmp_path / "calls").read_text() == "requeue 77\n"
    status = status_of(where)
    assert (status.state, status.error) == ("interrupted", "SIGUSR1")
    assert checkpoint(where)["global_step"] == status.steps == 1
