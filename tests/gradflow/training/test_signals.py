"""Signals end a run after the present step, and the run that continues is the uninterrupted one."""

import os
import signal
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from records import assert_same_run, checkpoint, status_of
from small_project import Fit, fit

from gradflow.training import signals
from gradflow.training.checkpoints import AtomicCheckpointIO

# An epoch has 6 batches, and validation comes after every 4.
RUN = ["steps=14", "activation=rrelu"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    fit(folder, *RUN)
    return folder


@pytest.fixture(autouse=True)
def signals_as_in_a_shell() -> Iterator[None]:
    """Undo what a background job inherits: SIGINT ignored."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@contextmanager
def sent(name: str, where: str, step: int = 0, times: int = 1) -> Iterator[None]:
    """Send this process a signal in the task's method `where`, after `step` steps."""
    original = getattr(Fit, where)
    left = times

    def sending(self: Fit, *arguments: Any) -> Any:
        nonlocal left
        if left and (where == "test_step" or self.global_step == step):
            left -= 1
            signal.raise_signal(getattr(signal, name))
        return original(self, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Fit, where, sending)
        yield
    assert not left


@contextmanager
def stopped(name: str) -> Iterator[None]:
    number = getattr(signal, name)
    with pytest.raises(KeyboardInterrupt if number == signal.SIGINT else SystemExit) as end:
        yield
    if number != signal.SIGINT:
        assert isinstance(end.value, SystemExit)
        assert end.value.code == 128 + number


@pytest.mark.parametrize(
    ("name", "where", "step", "saved"),
    [
        ("SIGTERM", "training_step", 0, 1),
        ("SIGINT", "training_step", 2, 3),
        ("SIGHUP", "training_step", 3, 4),  # validation is due, and comes when the run continues
        ("SIGTERM", "training_step", 5, 6),  # the last batch of an epoch
        ("SIGTERM", "training_step", 11, 12),  # the same, with validation
        ("SIGTERM", "validation_step", 4, 4),
        ("SIGINT", "validation_step", 12, 12),
        ("SIGTERM", "training_step", 13, 14),  # the last step: training ends as it would
        ("SIGTERM", "test_step", 14, 14),
    ],
)
def test_a_stopped_run_continues_bit_for_bit(
    tmp_path: Path, whole: Path, name: str, where: str, step: int, saved: int
) -> None:
    with stopped(name), sent(name, where, step):
        fit(tmp_path, *RUN)
    status = status_of(tmp_path)
    assert (status.state, status.steps) == ("interrupted", saved)
    assert status.error == ("Ctrl-C" if name == "SIGINT" else name)
    assert checkpoint(tmp_path)["global_step"] == saved
    fit(tmp_path, *RUN)
    assert status_of(tmp_path).resumed == 1
    assert_same_run(tmp_path, whole)


def test_a_run_is_stopped_at_each_of_its_steps_and_continues_bit_for_bit(
    tmp_path: Path, whole: Path
) -> None:
    for step in range(13):
        with stopped("SIGTERM"), sent("SIGTERM", "training_step", step):
            fit(tmp_path, *RUN)
        assert status_of(tmp_path).steps == step + 1
    fit(tmp_path, *RUN)
    assert status_of(tmp_path).resumed == 13
    assert_same_run(tmp_path, whole)


def test_a_signal_while_a_checkpoint_is_written_leaves_it_whole(
    tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = AtomicCheckpointIO.save_checkpoint
    sent_at: list[int] = []

    def saving(self: AtomicCheckpointIO, content: dict[str, Any], *args: Any, **more: Any) -> None:
        if not sent_at:
            sent_at.append(content["global_step"])
            signal.raise_signal(signal.SIGTERM)
        save(self, content, *args, **more)

    monkeypatch.setattr(AtomicCheckpointIO, "save_checkpoint", saving)
    with stopped("SIGTERM"):
        fit(tmp_path, *RUN)
    assert sent_at == [4]
    assert checkpoint(tmp_path)["global_step"] == status_of(tmp_path).steps == 4
    fit(tmp_path, *RUN)
    assert_same_run(tmp_path, whole)


def test_a_second_signal_stops_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "_SAME_REQUEST", 0.0)
    original = Fit.training_step

    def sending(self: Fit, *arguments: Any) -> Any:
        if self.global_step == 6:
            signal.raise_signal(signal.SIGTERM)
            time.sleep(0.01)  # the clock has moved
            signal.raise_signal(signal.SIGINT)
            pytest.fail("the step goes on")
        return original(self, *arguments)

    monkeypatch.setattr(Fit, "training_step", sending)
    with stopped("SIGTERM"):
        fit(tmp_path, *RUN)
    status = status_of(tmp_path)
    assert (status.state, status.error, status.steps) == ("interrupted", "SIGTERM", 6)
    assert checkpoint(tmp_path)["global_step"] == 4  # after the validation


def test_one_ctrl_c_that_comes_twice_is_one(tmp_path: Path) -> None:
    """From the terminal, and from a launcher that passes it on."""
    with stopped("SIGINT"), sent("SIGINT", "training_step", 6, times=2):
        fit(tmp_path, *RUN)
    assert checkpoint(tmp_path)["global_step"] == status_of(tmp_path).steps == 7


def test_before_training_a_signal_stops_at_once_and_leaves_no_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def building(*_: Any) -> None:
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr("small_project.build_task", building)
    with stopped("SIGTERM"):
        fit(tmp_path, *RUN)
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_handlers_are_the_callers_again(tmp_path: Path) -> None:
    received: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: received.append(number))
    mine = {number: signal.getsignal(number) for number in signal.valid_signals()}
    fit(tmp_path / "finished", *RUN)
    assert {number: signal.getsignal(number) for number in signal.valid_signals()} == mine
    with stopped("SIGTERM"), sent("SIGTERM", "training_step", 2):
        fit(tmp_path / "stopped", *RUN)
    assert {number: signal.getsignal(number) for number in signal.valid_signals()} == mine
    assert received == [signal.SIGTERM]  # the program that has a handler of its own gets it too
    assert checkpoint(tmp_path / "stopped")["global_step"] == 3


def test_an_ignored_signal_stays_ignored(tmp_path: Path) -> None:
    """As under nohup."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with sent("SIGINT", "training_step", 2):
        fit(tmp_path, *RUN)
    assert status_of(tmp_path).state == "finished"


def test_in_a_thread_a_run_handles_no_signals(tmp_path: Path) -> None:
    mine = signal.getsignal(signal.SIGTERM)
    seen: list[Any] = []
    original = Fit.training_step

    def looking(self: Fit, *arguments: Any) -> Any:
        seen.append(signal.getsignal(signal.SIGTERM))
        return original(self, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Fit, "training_step", looking)
        thread = threading.Thread(target=fit, args=(tmp_path, *RUN))
        thread.start()
        thread.join()
    assert set(seen) == {mine}
    assert status_of(tmp_path).state == "finished"


def test_a_program_that_exits_by_itself_has_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exiting(*_: Any) -> None:
        raise SystemExit(0)

    monkeypatch.setattr(Fit, "training_step", exiting)
    with pytest.raises(SystemExit):
        fit(tmp_path, *RUN)
    status = status_of(tmp_path)
    assert (status.state, status.error) == ("failed", "SystemExit: 0")


@pytest.fixture
def scontrol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a scontrol on the PATH that writes down how it was called."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "scontrol"
    program.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path / "calls"}\nexit ${{FAILS:-0}}\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    for name in [name for name in os.environ if name.startswith(("SLURM_", "SUBMITIT_"))]:
        monkeypatch.delenv(name)
    return tmp_path / "calls"


# As `srun` sets them: Lightning knows Slurm by SLURM_NTASKS.
SRUN = {
    "SLURM_JOB_ID": "77",
    "SLURM_NTASKS": "1",
    "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0",
    "SLURM_NODEID": "0",
    "SLURM_JOB_NAME": "train",
}
LONG_AGO, FAR_AWAY = {"SLURM_JOB_END_TIME": "1000"}, {"SLURM_JOB_END_TIME": "99999999999"}
ARRAY = {"SLURM_ARRAY_JOB_ID": "70", "SLURM_ARRAY_TASK_ID": "3"}


@pytest.mark.parametrize(
    ("variables", "name", "calls"),
    [
        (SRUN, "SIGUSR1", "requeue 77\n"),
        (SRUN, "SIGUSR2", "requeue 77\n"),
        (SRUN | ARRAY, "SIGUSR1", "requeue 70_3\n"),
        (SRUN, "SIGTERM", ""),  # scancel
        (SRUN | FAR_AWAY, "SIGTERM", ""),
        (SRUN | LONG_AGO, "SIGTERM", "requeue 77\n"),  # the time limit
        (SRUN | LONG_AGO, "SIGINT", ""),
        (SRUN | {"SUBMITIT_EXECUTOR": "slurm"}, "SIGUSR2", ""),  # it does so itself
    ],
)
def test_what_slurm_sends_saves_and_requeues_the_job(
    tmp_path: Path,
    whole: Path,
    scontrol: Path,
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    name: str,
    calls: str,
) -> None:
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    folder = tmp_path / "run"
    with stopped(name), sent(name, "training_step", 6):
        fit(folder, *RUN)
    assert (scontrol.read_text() if scontrol.exists() else "") == calls
    assert status_of(folder).steps == checkpoint(folder)["global_step"] == 7
    assert not list(folder.rglob("hpc_ckpt*"))
    fit(folder, *RUN)
    assert_same_run(folder, whole)


def test_checkpoints_of_lightnings_own_are_not_loaded(
    tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lightning looks for them in the working folder, on Slurm, to validate and test."""
    for variable, value in SRUN.items():
        monkeypatch.setenv(variable, value)
    other = checkpoint(whole)
    other["state_dict"] = {key: value + 1 for key, value in other["state_dict"].items()}
    torch.save(other, tmp_path / "hpc_ckpt_1.ckpt")
    monkeypatch.chdir(tmp_path)
    assert fit(tmp_path / "run", *RUN) == status_of(whole).metrics


def test_a_failing_scontrol_is_one_line_and_loses_nothing(
    tmp_path: Path,
    scontrol: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for variable, value in (SRUN | {"FAILS": "1"}).items():
        monkeypatch.setenv(variable, value)
    with stopped("SIGUSR1"), sent("SIGUSR1", "training_step", 6):
        fit(tmp_path / "run", *RUN)
    assert "scontrol requeue 77: exit status 1; submit the job again to continue" in caplog.text
    assert status_of(tmp_path / "run").steps == 7


def test_a_launcher_that_requeues_by_itself_gets_the_signal_when_the_run_is_saved(
    tmp_path: Path, scontrol: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As submitit, whose handler requeues and ends the process."""
    for variable, value in (SRUN | {"SUBMITIT_EXECUTOR": "slurm"}).items():
        monkeypatch.setenv(variable, value)
    saved: list[int] = []

    def submitit(number: int, _: Any) -> None:
        saved.append(status_of(tmp_path / "run").steps)

    before = signal.signal(signal.SIGUSR2, submitit)
    try:
        with stopped("SIGUSR2"), sent("SIGUSR2", "training_step", 6):
            fit(tmp_path / "run", *RUN)
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert saved == [7]
    assert not scontrol.exists()


def test_the_run_in_wandb_is_the_same_after_a_stop(tmp_path: Path) -> None:
    with stopped("SIGTERM"), sent("SIGTERM", "training_step", 6):
        fit(tmp_path, *RUN, "logger=offline")
    first = status_of(tmp_path).wandb_id
    fit(tmp_path, *RUN, "logger=offline")
    assert first
    assert status_of(tmp_path).wandb_id == first
    assert len(list((tmp_path / "wandb").glob("offline-run-*"))) == 1
