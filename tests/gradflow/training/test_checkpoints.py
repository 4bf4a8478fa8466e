"""When last.ckpt is written, and what is left when writing it fails."""

import errno
import json
import os
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from clocks import Clock
from processes import NOTING, run
from records import assert_same_run, checkpoint, crash, status_of
from small_project import Fit, fit

from gradflow.errors import ConfigError
from gradflow.gradients.atomic import write_text
from gradflow.runs.status import Status
from gradflow.training import checkpoints, heartbeat

RUN = ["activation=rrelu", "steps=14"]  # an epoch has 6 batches, and validation comes after every 4
BY_STEPS = "checkpoint.every_n_steps=1"


@pytest.fixture
def saved(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the steps at which last.ckpt is written."""
    steps: list[int] = []
    save = checkpoints.AtomicCheckpointIO.save_checkpoint

    def saving(self: Any, content: dict[str, Any], path: str, **more: Any) -> None:
        save(self, content, path, **more)
        if Path(path).name == "last.ckpt":
            steps.append(content["global_step"])

    monkeypatch.setattr(checkpoints.AtomicCheckpointIO, "save_checkpoint", saving)
    return steps


@pytest.mark.parametrize("word", ["2", "null"])
def test_a_checkpoint_is_written_by_time_without_any_validation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, saved: list[int], word: str
) -> None:
    """A step takes 30 seconds here, or more: a kill costs two minutes at most."""
    monkeypatch.setattr(checkpoints, "time", Clock(30.0))
    fit(tmp_path, *RUN, "validation=false", f"checkpoint.every_minutes={word}")
    if word == "null":
        assert saved == [14]
    else:
        steps = [0, *saved]
        assert 1 <= max(b - a for a, b in pairwise(steps)) <= 4


def test_a_checkpoint_is_written_by_steps_and_after_each_validation(
    tmp_path: Path, saved: list[int]
) -> None:
    fit(tmp_path, *RUN, "checkpoint.every_n_steps=5")
    assert saved == [4, 5, 8, 10, 12, 14]


@pytest.mark.parametrize("step", range(1, 14))
def test_a_run_resumes_exactly_from_a_checkpoint_at_any_step(tmp_path: Path, step: int) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    fit(whole, *RUN)
    with crash(Fit, "on_train_batch_end", step + 1):  # after the next step, before a checkpoint
        fit(cut, *RUN, BY_STEPS)
    assert checkpoint(cut)["global_step"] == step
    fit(cut, *RUN)
    assert_same_run(cut, whole)


def test_a_crash_in_validation_resumes_before_it(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    fit(whole, *RUN)
    with crash(Fit, "on_validation_epoch_end", 8):
        fit(cut, *RUN, BY_STEPS)
    assert checkpoint(cut)["global_step"] == 8
    fit(cut, *RUN)
    assert_same_run(cut, whole)


def test_a_running_run_says_how_far_it_is_and_loses_no_time_when_it_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "_EVERY_SECONDS", 0.0)
    seen: list[Status] = []
    original = Fit.training_step

    def looking(self: Fit, *arguments: Any) -> Any:
        if self.global_step:
            seen.append(status_of(tmp_path))
        return original(self, *arguments)

    monkeypatch.setattr(Fit, "training_step", looking)
    fit(tmp_path, *RUN, "validation=false")
    assert [status.steps for status in seen] == list(range(1, 14))
    assert {status.state for status in seen} == {"running"}
    seconds = [status.seconds for status in seen]
    assert seconds == sorted(seconds)
    assert seconds[0] > 0

    # As after kill -9: nothing but the last such file and the checkpoint.
    killed = seen[9]
    killed.seconds = 1000.0
    killed.write(tmp_path)
    fit(tmp_path, *RUN, "validation=false")
    assert 1000 < status_of(tmp_path).seconds < 1100


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    fit(whole, *RUN)
    save = torch.save

    def failing(content: dict[str, Any], file: Any) -> None:
        if content["global_step"] == 8:
            file.write(b"the first bytes")
            raise OSError(code, os.strerror(code))
        save(content, file)

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", failing)
        with pytest.raises(OSError, match=os.strerror(code)) as error:
            fit(cut, *RUN)
    assert error.value.filename == str(cut / "checkpoints" / "best.ckpt")
    assert sorted(path.name for path in (cut / "checkpoints").iterdir()) == [
        "best.ckpt",
        "last.ckpt",
    ]
    assert checkpoint(cut)["global_step"] == 4
    assert status_of(cut).state == "failed"
    fit(cut, *RUN)
    assert_same_run(cut, whole)


def test_a_status_that_cannot_be_written_now_and_then_does_not_end_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Status.write

    def full(self: Status, folder: Path) -> None:
        if self.state == "running" and self.steps:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(self, folder)

    monkeypatch.setattr(Status, "write", full)
    monkeypatch.setattr(heartbeat, "_EVERY_SECONDS", 0.0)
    fit(tmp_path, *RUN)
    assert status_of(tmp_path).state == "finished"


def test_a_damaged_last_checkpoint_is_replaced_by_the_best_one_if_the_user_says_so(
    tmp_path: Path,
) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    fit(whole, *RUN)
    with crash(Fit, "on_train_batch_end", 11):
        fit(cut, *RUN)
    last, best = (cut / "checkpoints" / f"{name}.ckpt" for name in ("last", "best"))
    last.write_bytes(last.read_bytes()[:1000])
    step = checkpoint(cut, "best")["global_step"]
    with pytest.raises(ConfigError) as refused:
        fit(cut, *RUN)
    hint = f", or copy checkpoints/best.ckpt over it to continue from step {step}"
    assert str(refused.value).endswith(hint)
    shutil.copy(best, last)
    fit(cut, *RUN)
    assert_same_run(cut, whole)


def test_a_file_is_on_the_disk_before_its_name_and_the_folder_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a power cut leaves is the old file or the new one."""
    done: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def synced(descriptor: int) -> None:
        done.append(f"fsync {Path(f'/proc/self/fd/{descriptor}').readlink().name}")
        fsync(descriptor)

    def replaced(self: Path, target: Path) -> Path:
        done.append(f"replace {target.name}")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", replaced)
    write_text(tmp_path / "file.json", json.dumps({}))
    temporary = f"fsync .file.json.{os.getpid()}.unfinished"
    assert done == [temporary, "replace file.json", f"fsync {tmp_path.name}"]


@pytest.mark.slow
def test_everything_in_a_runs_folder_is_written_aside_and_then_moved(tmp_path: Path) -> None:
    """A reader meets no file that is half-written, but for the last row of metrics.csv."""
    done = run(tmp_path, NOTING, tmp_path / "run", *RUN)
    assert done.returncode == 0, done.stderr
    opened = set(done.stdout.split())
    assert {"config.yaml", "status.json", "verdict.json", "last.ckpt", "best.ckpt"} <= {
        Path(name).name.removeprefix(".").partition(".unfinished")[0].rpartition(".")[0]
        for name in opened
    }
    in_place = {name for name in opened if not name.endswith(".unfinished")}
    assert in_place == {".lock", "metrics.csv"}
