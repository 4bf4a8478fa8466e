"""Studies on Slurm and on Ray, both of which run on this machine for the tests.

In each there is a job that fails, and one that is stopped in the middle and called again.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pytest
from processes import command, environment
from same_run import DDP, EXACT, HELPERS, assert_same_run, odd_net, status
from slurm_cluster import Slurm
from small_run import REPOSITORY, SMALL
from wandb_server import find_uv

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("cluster")]
RAY = ["hydra-ray-launcher==1.2.2", "ray==2.60.0"]


@pytest.fixture(scope="module")
def slurm() -> Iterator[Slurm]:
    cluster = Slurm()
    yield cluster
    cluster.close()


@pytest.fixture(scope="module")
def ray(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Variables of a process that has Ray, which `make setup` does not install."""
    folder = tmp_path_factory.mktemp("ray")
    install = [find_uv(), "pip", "install", "--quiet", "--python", sys.executable]
    subprocess.run([*install, "--target", str(folder), *RAY], check=True, timeout=300)
    return {"PYTHONPATH": str(folder), "RAY_USAGE_STATS_ENABLED": "0"}


def start(tmp_path: Path, *words: str | Path, **variables: str) -> "subprocess.Popen[str]":
    """Start a program in the repository."""
    own = environment(tmp_path)
    if "PYTHONPATH" in variables:
        variables["PYTHONPATH"] += os.pathsep + own["PYTHONPATH"]
    return subprocess.Popen(
        list(map(str, words)),
        cwd=REPOSITORY,
        env=own | variables,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def slow_study(tmp_path: Path, study: Path, launcher: str) -> list[str]:
    """Return a command line with two jobs that take their time, and one that is refused."""
    gate = ["steps=160", "validate_every=80", "log_every=20", "checkpoint.every_n_steps=2"]
    gate += ["logger=offline", "monitor.every_n_steps=80", "test=false"]
    net = [*odd_net(tmp_path, "Slow")[::2], f"+model.gate={tmp_path / 'gate'}"]
    sweep = ["seed=0,1", "lr=0.01", f"hydra.sweep.dir={study}", "hydra.sweep.subdir=${seed}"]
    launchers = [f"hydra/launcher={launcher}"]
    return command("scripts/train.py", "-m", *SMALL, *gate, *net, *sweep, *launchers)


def wait_until(condition: Callable[[], object], process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + 200
    while not condition():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            pytest.fail(f"the launcher ended too early: {process.communicate()}")
        time.sleep(0.1)


def steps(folder: Path) -> int:
    return int(status(folder)["steps"]) if (folder / "status.json").exists() else 0


def state(folder: Path) -> str:
    return str(status(folder)["state"])


def assert_went_on(folder: Path, wandb_id: str) -> None:
    """The run was stopped once, and is one run."""
    ended = status(folder)
    assert (ended["state"], ended["resumed"], ended["steps"]) == ("finished", 1, 160)
    assert ended["wandb_id"] == wandb_id
    logged = pl.read_csv(folder / "metrics.csv").drop_nulls("train/loss")["step"].to_list()
    assert logged == list(range(19, 160, 20))


def test_slurm_calls_a_job_again_that_was_preempted_or_ran_out_of_time(
    tmp_path: Path, slurm: Slurm
) -> None:
    study = tmp_path / "study"
    words = slow_study(tmp_path, study, "submitit_slurm")
    # `signal_delay_s` before the end of `timeout_min`, Slurm sends what `scancel` sends here.
    launcher = start(tmp_path, *words, "hydra.launcher.cpus_per_task=1", **slurm.variables)
    folders = [study / "0", study / "1"]
    wait_until(lambda: min(map(steps, folders)) >= 4, launcher)
    known = [status(folder)["wandb_id"] for folder in folders]
    first, second = slurm.jobs()
    slurm.call("scontrol", "requeue", first)
    slurm.call("scancel", "--signal=USR2", second)
    wait_until(lambda: {state(folder) for folder in folders} == {"interrupted"}, launcher)
    (tmp_path / "gate").touch()
    # A job that is queued again would wait for two minutes. Some seconds it needs: a node does not
    # start a job again in the second in which it was told to kill it.
    for job in (first, second):
        wait_until(lambda job=job: "PENDING" in slurm.state(job), launcher)  # type: ignore[misc]
        slurm.call("scontrol", "update", f"JobId={job}", "StartTime=now+3")
    printed, errors = launcher.communicate(timeout=250)
    assert launcher.returncode == 0, printed + errors
    for folder, wandb_id in zip(folders, known, strict=True):
        assert_went_on(folder, wandb_id)
    assert "page: " in printed, "the study has come to its end"
    assert [path.name for path in study.glob(".submitit/*j*")] == []


def test_a_job_that_fails_or_is_cancelled_on_slurm_leaves_the_others_alone(
    tmp_path: Path, slurm: Slurm
) -> None:
    study = tmp_path / "study"
    words = slow_study(tmp_path, study, "submitit_slurm")
    words = [*words, "lr=0.01,-1", "hydra.sweep.subdir=${seed}${lr}"]
    launcher = start(tmp_path, *words, "hydra.launcher.cpus_per_task=1", **slurm.variables)
    wait_until(lambda: steps(study / "00.01") >= 4 and steps(study / "10.01") >= 4, launcher)
    job = slurm.jobs()[0]
    slurm.call("scancel", job)
    wait_until(lambda: state(study / "00.01") == "interrupted", launcher)
    (tmp_path / "gate").touch()
    printed, errors = launcher.communicate(timeout=250)
    assert launcher.returncode == 1, printed + errors
    assert state(study / "10.01") == "finished"
    assert "2 failed" in printed
    assert "lr=-1: input should be greater than 0" in printed


def test_srun_starts_one_run(tmp_path: Path, slurm: Slurm, single: Path) -> None:
    folder = tmp_path / "run"
    words = command("scripts/train.py", *EXACT, *DDP[:2], "seed=1", f"hydra.run.dir={folder}")
    started = start(tmp_path, "srun", "--ntasks=2", *words, **slurm.variables)
    printed, errors = started.communicate(timeout=250)
    assert started.returncode == 0, errors
    assert printed.count("train/loss") == 1
    assert_same_run(folder, single)


def test_a_study_of_runs_with_two_tasks_each(tmp_path: Path, slurm: Slurm, single: Path) -> None:
    study = tmp_path / "study"
    folders = [f"hydra.sweep.dir={study}", "hydra.sweep.subdir=${seed}"]
    tasks = ["hydra.launcher.tasks_per_node=2", "hydra.launcher.cpus_per_task=1"]
    launcher = ["hydra/launcher=submitit_slurm", *tasks]
    words = command("scripts/train.py", "-m", *EXACT, *DDP[:2], "seed=1", *folders, *launcher)
    launched = start(tmp_path, *words, **slurm.variables)
    printed, errors = launched.communicate(timeout=250)
    assert launched.returncode == 0, printed + errors
    assert_same_run(study / "1", single)


def test_submitits_local_executor_computes_a_study(tmp_path: Path) -> None:
    study = tmp_path / "study"
    words = [*SMALL, "lr=0.1,-1", f"hydra.sweep.dir={study}", "hydra.sweep.subdir=${lr}"]
    launcher = start(
        tmp_path, *command("scripts/train.py", "-m", *words, "hydra/launcher=submitit_local")
    )
    printed, errors = launcher.communicate(timeout=250)
    assert launcher.returncode == 1, printed + errors
    assert "1 finished" in printed
    assert "lr=-1: input should be greater than 0" in printed
    assert not list(study.rglob("*%j*"))


def test_ray_calls_a_job_again_whose_machine_was_lost(tmp_path: Path, ray: dict[str, str]) -> None:
    study = tmp_path / "study"
    cluster = start(tmp_path, *command(HELPERS / "ray_nodes.py", "2"), **ray)
    assert cluster.stdout is not None
    assert cluster.stdin is not None
    try:
        address = cluster.stdout.readline().strip()
        words = slow_study(tmp_path, study, "ray")
        words += ["lr=0.01,-1", "hydra.sweep.subdir=${seed}${lr}"]
        launcher = start(tmp_path, *words, f"hydra.launcher.ray.init.address={address}", **ray)
        folders = [study / "00.01", study / "10.01"]
        wait_until(lambda: min(map(steps, folders)) >= 4, launcher)
        known = [status(folder)["wandb_id"] for folder in folders]
        print("1", file=cluster.stdin, flush=True)
        assert cluster.stdout.readline().strip() == "killed"
        (tmp_path / "gate").touch()
        printed, errors = launcher.communicate(timeout=250)
        assert launcher.returncode == 1, printed + errors
        assert [state(folder) for folder in folders] == ["finished", "finished"]
        assert sorted(status(folder)["resumed"] for folder in folders) == [0, 1]
        assert [status(folder)["wandb_id"] for folder in folders] == known
        assert "2 finished" in printed
        assert "lr=-1: input should be greater than 0" in printed
    finally:
        cluster.stdin.close()
        cluster.wait(timeout=100)
