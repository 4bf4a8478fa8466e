"""Data-parallel runs of two processes on the CPU, started in each of the ways there are."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from processes import command, environment
from records import same_weights
from same_run import DDP, EXACT, assert_same_run, free_port, odd_net, status
from small_run import DYING, REPOSITORY, SMALL, run

pytestmark = [pytest.mark.distributed, pytest.mark.slow]
TORCHRUN = [str(Path(sys.executable).with_name("torchrun")), "--nproc-per-node=2"]


def processes_of(folder: Path) -> list[str]:
    """Return the command lines of all living processes that name `folder`."""
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = process.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # it has ended
            continue
        if str(folder) in line:
            found.append(line)
    return found


def assert_nothing_is_left(folder: Path) -> None:
    deadline = time.monotonic() + 30
    while processes_of(folder) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert processes_of(folder) == []


@pytest.mark.parametrize("launcher", [[], ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]])
def test_two_processes_compute_what_one_does(
    tmp_path: Path, launcher: list[str], single: Path
) -> None:
    study = tmp_path / "study"
    folders = [f"hydra.sweep.dir={study}", "hydra.sweep.subdir=seed_${seed}"]
    done = run(tmp_path, "-m", *EXACT, *DDP, *launcher, "seed=0,1", *folders)
    assert done.returncode == 0, done.stderr
    assert status(study / "seed_0")["state"] == "finished"
    assert_same_run(study / "seed_1", single)
    assert_nothing_is_left(study)


def test_torchrun_starts_one_run(tmp_path: Path, single: Path) -> None:
    folder = tmp_path / "run"
    words = [*EXACT, *DDP[:2], "seed=1", "logger=offline", f"hydra.run.dir={folder}"]
    done = subprocess.run(
        [*TORCHRUN, f"--master-port={free_port()}", "scripts/train.py", *words],
        cwd=REPOSITORY,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("train/loss") == 1
    assert_same_run(folder, single)
    assert len(list((folder / "wandb").glob("offline-run-*"))) == 1


def test_two_nodes_compute_one_run_whatever_the_folder_of_the_second(
    tmp_path: Path, single: Path
) -> None:
    folder = tmp_path / "run"
    nodes = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    words = [*EXACT, *DDP[:2], "trainer.devices=1", "trainer.num_nodes=2", "seed=1"]
    other, first = (
        subprocess.Popen(
            command("scripts/train.py", *words, *more),
            cwd=REPOSITORY,
            env=environment(tmp_path) | nodes | {"NODE_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank, more in ((1, []), (0, [f"hydra.run.dir={folder}"]))
    )
    printed = first.communicate(timeout=200)[0]
    assert first.returncode == 0, printed
    assert other.communicate(timeout=100)[0] == ""
    assert other.returncode == 0
    assert_same_run(folder, single)


def test_more_processes_than_the_trainer_has_are_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [*TORCHRUN, f"--master-port={free_port()}", "scripts/train.py", *SMALL],
        cwd=REPOSITORY,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode != 0
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert "torchrun has started 2 processes" in line


@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_raises_ends_the_run_in_one_line(tmp_path: Path, rank: int) -> None:
    folder = tmp_path / "run"
    started = time.monotonic()
    done = run(
        tmp_path, *SMALL, *DDP, *odd_net(tmp_path, "Raises", rank), f"hydra.run.dir={folder}"
    )
    assert time.monotonic() - started < 100  # not the half hour that gloo waits
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith(f"error: rank {rank}: RuntimeError: injected failure;")
    assert "odd_nets.py" in (folder / f"rank_{rank}.log").read_text()
    assert status(folder)["state"] == "failed"
    assert status(folder)["error"] == line.removeprefix("error: ")
    assert_nothing_is_left(tmp_path)


def test_a_killed_process_ends_the_run_in_one_line(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    done = run(tmp_path, *SMALL, *DDP, *odd_net(tmp_path, "Killed"), f"hydra.run.dir={folder}")
    assert done.returncode == 1
    assert done.stderr == "error: rank 1: killed by SIGKILL\n"
    assert status(folder)["error"] == "rank 1: killed by SIGKILL"
    assert_nothing_is_left(tmp_path)


def test_no_process_outlives_the_first_one(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    words = [*SMALL, *DDP, *odd_net(tmp_path, "Killed", 0)]
    done = run(tmp_path, *words, f"hydra.run.dir={folder}")
    assert done.returncode == -9
    assert_nothing_is_left(tmp_path)


def test_a_process_that_raises_under_torchrun_ends_the_run_with_its_reason(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    words = [*SMALL, *DDP[:2], *odd_net(tmp_path, "Raises"), f"hydra.run.dir={folder}"]
    done = subprocess.run(
        [*TORCHRUN, f"--master-port={free_port()}", "scripts/train.py", *words],
        cwd=REPOSITORY,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 1
    assert re.findall("^error: .*", done.stderr, re.MULTILINE) == [
        f"error: {status(folder)['error']}"
    ]
    assert status(folder)["error"].startswith("rank 1: RuntimeError: injected failure;")


def test_a_loss_that_is_not_finite_in_one_process_ends_the_run_in_all(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    words = [*SMALL, *DDP, *odd_net(tmp_path, "NotFinite"), "test=false"]
    done = run(tmp_path, *words, f"hydra.run.dir={folder}")
    assert done.returncode == 0, done.stderr
    assert status(folder)["state"] == "finished"
    assert status(folder)["diverged_at"] == 4


def test_a_data_parallel_run_resumes_in_all_its_processes(tmp_path: Path) -> None:
    """From a step at which each process has a mean of its own, of its share of one batch."""
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    words = [*EXACT, *DDP, "checkpoint.every_n_steps=5"]
    assert run(tmp_path, *words, f"hydra.run.dir={whole}").returncode == 0
    killed = run(tmp_path, *DYING, "step", "6", *words, f"hydra.run.dir={cut}")
    assert killed.returncode == -9, killed.stderr
    resumed = run(tmp_path, *words, f"hydra.run.dir={cut}")
    assert resumed.returncode == 0, resumed.stderr
    assert status(cut)["resumed"] == 1
    assert same_weights(whole, cut)
    assert (whole / "metrics.csv").read_text() == (cut / "metrics.csv").read_text()


def test_signals_end_all_processes_after_one_step_and_the_run_goes_on(tmp_path: Path) -> None:
    """SIGTERM to the first process alone, and Ctrl-C, which reaches all of them."""
    whole, cut, gate = tmp_path / "whole", tmp_path / "cut", tmp_path / "gate"
    net = [*odd_net(tmp_path, "Slow")[::2], f"+model.gate={gate}"]
    words = [*SMALL, "lr=0.01", *DDP, *net, "steps=160", "validate_every=80", "log_every=20"]
    words += ["checkpoint.every_n_steps=2", "monitor.every_n_steps=80"]

    def stop(number: int, *, after: int) -> int:
        process = subprocess.Popen(
            command("scripts/train.py", *words, f"hydra.run.dir={cut}"),
            cwd=REPOSITORY,
            env=environment(tmp_path),
            start_new_session=True,
            stderr=subprocess.PIPE,
        )
        deadline = time.monotonic() + 200
        while process.poll() is None and time.monotonic() < deadline:
            if (cut / "status.json").exists() and status(cut)["steps"] >= after:
                break
            time.sleep(0.1)
        (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
        process.communicate(timeout=100)
        assert_nothing_is_left(cut)
        assert status(cut)["state"] == "interrupted"
        return process.returncode

    assert stop(signal.SIGTERM, after=4) == 128 + signal.SIGTERM
    first = status(cut)["steps"]
    assert stop(signal.SIGINT, after=first + 4) == 128 + signal.SIGINT
    gate.touch()
    for folder in (cut, whole):
        done = run(tmp_path, *words, f"hydra.run.dir={folder}")
        assert done.returncode == 0, done.stderr
    assert status(cut)["resumed"] == 2
    assert same_weights(whole, cut)
    assert (whole / "metrics.csv").read_text() == (cut / "metrics.csv").read_text()
