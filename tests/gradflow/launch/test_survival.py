"""A study outlives its jobs: killed ones, ones that exit, a killed launcher, a second launch."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from processes import SMALL_TRAIN, command, environment, launched, run
from records import status_of

from gradflow.runs.processes import is_alive

pytestmark = pytest.mark.slow

JOBS = """
import os, pathlib, signal, sys, time
from torch.nn import ReLU

class Dies(ReLU):
    def forward(self, z):
        os.kill(os.getpid(), signal.SIGKILL)

class DiesOnce(ReLU):
    def forward(self, z):
        if not pathlib.Path("died").exists():
            pathlib.Path("died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(z)

class Exits(ReLU):
    def forward(self, z):
        sys.exit(0)

class Slow(ReLU):
    def forward(self, z):
        time.sleep(0.05)
        return super().forward(z)

class Tells(ReLU):
    def forward(self, z):
        with open(f"gpus.{os.getpid()}", "w") as file:
            file.write(os.environ["CUDA_VISIBLE_DEVICES"])
        pathlib.Path(f"threads.{os.environ['OMP_NUM_THREADS']}").touch()
        time.sleep(0.2)
        return super().forward(z)
"""
LAUNCHERS = pytest.mark.parametrize(
    "launcher",
    [[], ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]],
    ids=["basic", "joblib"],
)


@pytest.fixture
def jobs(tmp_path: Path) -> Callable[..., list[str]]:
    """The words of a study whose jobs have the named activations."""
    (tmp_path / "jobs.py").write_text(JOBS)

    def words(*names: str) -> list[str]:
        targets = ",".join(f"jobs.{name}" if name != "ReLU" else "torch.nn.ReLU" for name in names)
        sweep = f"hydra.sweep.dir={tmp_path / 'study'}"
        return ["-m", f"activation._target_={targets}", "study.name=s", sweep]

    return words


def states(tmp_path: Path) -> dict[str, str]:
    """The state of each run, by the name of its activation."""
    paths = (tmp_path / "study").glob("*/status.json")
    return {p.parent.name.split(".")[-1].split(",")[0]: status_of(p.parent).state for p in paths}


def started(tmp_path: Path, words: list[str]) -> subprocess.Popen[str]:
    """Launch a study of slow jobs, and wait until the first has made a step."""
    launch = launched(tmp_path, *words)
    deadline = time.monotonic() + 150
    while not list(tmp_path.glob("study/*/metrics.csv")):
        assert time.monotonic() < deadline, launch.communicate()
        assert launch.poll() is None, launch.communicate()
        time.sleep(0.1)
    return launch


def job_processes(tmp_path: Path) -> list[int]:
    records = [json.loads(p.read_text()) for p in tmp_path.glob("study/.launches/*/[0-9]*.json")]
    return [record["process"] for record in records if record["process"]]


def wait_until_gone(processes: list[int]) -> None:
    deadline = time.monotonic() + 100
    while any(map(is_alive, processes)):
        assert time.monotonic() < deadline, processes
        time.sleep(0.1)


@LAUNCHERS
def test_a_job_that_dies_or_exits_leaves_the_others_alone_and_is_told_of(
    tmp_path: Path, jobs: Callable[..., list[str]], launcher: list[str]
) -> None:
    done = run(tmp_path, *jobs("Dies", "Exits", "DiesOnce", "ReLU"), *launcher)
    assert done.returncode == 1
    assert states(tmp_path) == {
        "Dies": "failed",
        "Exits": "failed",
        "DiesOnce": "finished",
        "ReLU": "finished",
    }
    (again,) = (line for line in done.stderr.splitlines() if line.startswith("once more: "))
    assert ("jobs.Dies" in again, "jobs.DiesOnce" in again, "Exits" in again) == (True, True, False)
    assert "its process was killed (SIGKILL); out of memory?" in done.stdout
    assert "SystemExit" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert "2 finished" in done.stdout


def test_what_was_cut_off_when_all_was_killed_comes_last(
    tmp_path: Path, jobs: Callable[..., list[str]]
) -> None:
    words = jobs("Slow", "ReLU")
    launch = started(tmp_path, [*words, "steps=200"])
    (process,) = job_processes(tmp_path)
    for killed in (launch.pid, process):
        os.kill(killed, signal.SIGKILL)
    launch.communicate()
    again = run(tmp_path, *words, "steps=200")
    assert again.returncode == 0, again.stderr
    ended = [line.partition(":")[0].split(".")[-1] for line in again.stderr.splitlines()]
    assert [name for name in ended if name in ("Slow", "ReLU")] == ["ReLU", "Slow"]
    assert set(states(tmp_path).values()) == {"finished"}


@LAUNCHERS
def test_a_stopped_launcher_saves_its_jobs_leaves_no_process_and_prints_the_table(
    tmp_path: Path, jobs: Callable[..., list[str]], launcher: list[str]
) -> None:
    launch = started(tmp_path, [*jobs("Slow"), "seed=0,1,2", "steps=4000", *launcher])
    processes = job_processes(tmp_path)
    launch.terminate()
    output, _ = launch.communicate(timeout=100)
    assert launch.returncode == 143, output
    assert "Traceback" not in output
    assert "the same command line with study.name=s continues" in output
    assert "study s in" in output
    wait_until_gone(processes)
    folders = [path.parent for path in (tmp_path / "study").glob("*/status.json")]
    assert len(folders) <= (2 if launcher else 1)
    for folder in folders:
        status = status_of(folder)
        assert (status.state, status.error) == ("interrupted", "SIGTERM")
        assert (folder / "checkpoints" / "last.ckpt").exists() == (status.steps > 0)
    assert any(status_of(folder).steps for folder in folders)


@LAUNCHERS
def test_the_job_of_a_killed_launcher_saves_and_ends(
    tmp_path: Path, jobs: Callable[..., list[str]], launcher: list[str]
) -> None:
    launch = started(tmp_path, [*jobs("Slow"), "steps=4000", *launcher])
    (process,) = job_processes(tmp_path)
    launch.kill()
    launch.wait()  # an idle worker of joblib's keeps the pipe for some minutes
    wait_until_gone([process])
    (status,) = (status_of(path.parent) for path in (tmp_path / "study").glob("*/status.json"))
    assert (status.state, status.error) == ("interrupted", "SIGTERM")


def test_fail_fast_begins_no_job_after_a_failed_one(
    tmp_path: Path, jobs: Callable[..., list[str]]
) -> None:
    done = run(tmp_path, *jobs("ReLU", "Exits", "Slow"), "fail_fast=true")
    assert done.returncode == 1
    assert states(tmp_path) == {"ReLU": "finished", "Exits": "failed"}
    assert "further jobs were not begun: fail_fast" in done.stdout


def test_a_finished_run_of_other_code_is_named_and_on_request_computed_anew(
    tmp_path: Path, jobs: Callable[..., list[str]]
) -> None:
    words = jobs("ReLU")
    assert run(tmp_path, *words).returncode == 0
    (folder,) = (path.parent for path in (tmp_path / "study").glob("*/status.json"))
    record = json.loads((folder / "status.json").read_text())
    record["git"] = {"commit": "0" * 40, "dirty": False}
    (folder / "status.json").write_text(json.dumps(record))
    skipped = run(tmp_path, *words)
    assert "1 of 1 runs that were finished before were computed by other code" in skipped.stdout
    assert json.loads((folder / "status.json").read_text()) == record
    anew = run(tmp_path, *words, "rerun=changed")
    assert anew.returncode == 0, anew.stderr
    assert status_of(folder).git["commit"] != "0" * 40
    (kept,) = folder.glob(".earlier/*/status.json")
    assert json.loads(kept.read_text()) == record


def test_parallel_jobs_share_the_cores_and_each_sees_one_gpu(
    tmp_path: Path, jobs: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machine needs no GPU: the variable alone says what a job would see."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    words = [*jobs("Tells"), "seed=0,1", "trainer.accelerator=auto"]
    program = command(SMALL_TRAIN, *words, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    surroundings = environment(tmp_path)
    del surroundings["OMP_NUM_THREADS"]
    done = subprocess.run(
        program, cwd=tmp_path, env=surroundings, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr
    assert sorted(path.read_text() for path in tmp_path.glob("gpus.*")) == ["5", "7"]
    (threads,) = tmp_path.glob("threads.*")
    assert threads.name == f"threads.{max(1, len(os.sched_getaffinity(0)) // 2)}"
