"""A run's life in this process: its record, its determinism, what it refuses, how it resumes."""

import csv
import json
import shutil
import subprocess
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock
from lightning import Trainer
from records import checkpoint, crash, rows_of, same_weights, status_of
from small_project import CONF, Fit, fit, train

from gradflow.errors import ConfigError
from gradflow.launch.compose import compose
from gradflow.runs.files import CONFIG, GRADIENTS, RunBusyError
from gradflow.runs.status import Status


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, float]]:
    folder = tmp_path_factory.mktemp("finished")
    return folder, fit(folder)


def test_metrics_are_the_last_values_of_metrics_csv_and_of_status_json(
    finished: tuple[Path, dict[str, float]],
) -> None:
    folder, metrics = finished
    last: dict[str, float] = {}
    with (folder / "metrics.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            last |= {k: float(v) for k, v in row.items() if v and k not in ("step", "epoch")}
    assert metrics == last == json.loads((folder / "status.json").read_text())["metrics"]
    measured = {
        f"{split}/{what}" for split in ("validation", "test") for what in ("loss", "distance")
    }
    assert {"train/loss"} | measured == last.keys()


def test_status_says_what_the_run_was_made_with(finished: tuple[Path, dict[str, float]]) -> None:
    status = json.loads((finished[0] / "status.json").read_text())
    head = subprocess.run(
        ["git", "rev-parse", "HEAD"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert status["git"]["commit"] == (head.stdout.strip() or None)
    assert status["versions"]["torch"] == version("torch")
    assert status["versions"]["lightning"] == version("lightning")
    start, end = (datetime.fromisoformat(status[key]) for key in ("start", "end"))
    assert start <= end
    assert start.utcoffset() is not None
    assert (status["state"], status["steps"], status["error"]) == ("finished", 8, None)
    assert 0 < status["seconds"] < 60


def test_checkpoints_hold_plain_containers_and_tensors(
    finished: tuple[Path, dict[str, float]],
) -> None:
    def look(value: Any) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                assert type(key) in (str, int)
                look(inner)
        elif isinstance(value, list | tuple):
            for inner in value:
                look(inner)
        else:
            assert isinstance(value, torch.Tensor | str | int | float | bool | None)

    for name in ("last", "best"):
        look(checkpoint(finished[0], name))


def test_a_finished_run_is_not_run_again_and_returns_its_metrics(
    finished: tuple[Path, dict[str, float]],
) -> None:
    folder, metrics = finished
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.name != ".lock"}
    assert fit(folder) == metrics
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.name != ".lock"} == before


def test_what_changes_no_number_may_differ_in_a_finished_run(
    finished: tuple[Path, dict[str, float]],
) -> None:
    folder, metrics = finished
    assert fit(folder, "logger=offline") == metrics


@pytest.mark.parametrize(
    ("override", "refusal"),
    [
        ("threads=2", "threads=1, not 2"),
        ("threads=null", "threads=1, not None"),
        ("lr=0.05", "lr=0.01, not 0.05"),
    ],
)
def test_another_configuration_in_the_same_folder_is_refused(
    finished: tuple[Path, dict[str, float]], override: str, refusal: str
) -> None:
    with pytest.raises(ConfigError) as error:
        fit(finished[0], override)
    assert f"holds a run with {refusal}; choose another " in str(error.value)
    assert "\n" not in str(error.value)


def test_threads_and_random_state_are_the_callers_again(tmp_path: Path) -> None:
    """A run's `threads` would else round the next run of this process that has none."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    torch.manual_seed(7)
    try:
        fit(tmp_path / "one")
        assert torch.get_num_threads() == 2
        drawn = torch.rand(5)
        with crash(Fit, "on_train_batch_end", 3):
            fit(tmp_path / "failing")
        assert torch.get_num_threads() == 2
        fit(tmp_path / "free", "threads=null")
    finally:
        torch.set_num_threads(before)
    assert torch.equal(drawn, torch.rand(5, generator=torch.Generator().manual_seed(7)))
    used = [status_of(tmp_path / name).threads for name in ("one", "failing", "free")]
    assert used == [1, 1, 2]


@pytest.mark.parametrize("damage", [b'{"state": "fin', b"\xff\xfe", b"[]", b"", "field", "type"])
def test_a_run_whose_status_is_unreadable_is_left_as_it_is(
    tmp_path: Path, damage: bytes | str
) -> None:
    compose([], CONF).save(tmp_path / CONFIG)
    Status("finished").write(tmp_path)
    values = json.loads((tmp_path / "status.json").read_text())
    changed = {"field": {"of_a_later_version": 1}, "type": {"metrics": None}}
    if isinstance(damage, str):
        damage = json.dumps(values | changed[damage]).encode()
    (tmp_path / "status.json").write_bytes(damage)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for words in ([], ["lr=0.05"]):
        with pytest.raises(ConfigError, match=r"status\.json: unreadable, or of another version"):
            fit(tmp_path, *words)
    assert {path: path.read_bytes() for path in before} == before


def test_the_configuration_is_compared_where_the_status_is_gone(tmp_path: Path) -> None:
    metrics = fit(tmp_path)
    (tmp_path / "status.json").unlink()
    with pytest.raises(ConfigError, match=r"holds a run with lr=0\.01, not 0\.05"):
        fit(tmp_path, "lr=0.05")
    assert fit(tmp_path) == metrics


def test_a_finished_run_without_its_configuration_is_left_as_it_is(tmp_path: Path) -> None:
    Status("finished").write(tmp_path)
    with pytest.raises(ConfigError, match=r"config\.yaml: missing; remove the folder or "):
        fit(tmp_path)


@pytest.mark.parametrize("file", ["checkpoints/last.ckpt", "metrics.csv", "config.yaml"])
def test_a_damaged_file_is_named_before_the_run_is_resumed(tmp_path: Path, file: str) -> None:
    with crash(Fit, "on_train_batch_end", 7):
        fit(tmp_path)
    record = (tmp_path / "status.json").read_bytes()
    whole = (tmp_path / file).read_bytes()
    for damaged in (whole[: len(whole) // 2] + b"\xff\x00", b"\x80\x00garbage\xff" * 9):
        (tmp_path / file).write_bytes(damaged)
        with pytest.raises(ConfigError) as refused:
            fit(tmp_path)
        assert str(refused.value).startswith(f"{tmp_path / file}: is ")
        assert "; remove " in str(refused.value)
        assert "\n" not in str(refused.value)
    assert (tmp_path / "status.json").read_bytes() == record


def test_a_status_that_cannot_be_written_keeps_no_other_end_from_its_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[str] = []
    write = Status.write

    def full(self: Status, folder: Path) -> None:
        if self.end is not None:
            raise OSError(28, "No space left on device")
        write(self, folder)

    def raising(*_: object, **__: object) -> None:
        raise ArithmeticError

    monkeypatch.setattr(Status, "write", full)
    monkeypatch.setattr(
        "gradflow.runs.wandb_run.finish_run", lambda run, failed: ended.append("run")
    )
    monkeypatch.setattr("gradflow.training.run.leave_process_group", lambda: ended.append("group"))
    monkeypatch.setattr("gradflow.runs.wandb_run.start_run", raising)
    with pytest.raises(OSError, match="No space left"):
        fit(tmp_path / "before", "logger=offline")
    assert ended == ["group"]
    monkeypatch.setattr("gradflow.runs.wandb_run.start_run", lambda *_: object())
    monkeypatch.setattr("gradflow.runs.wandb_run.attach_record", lambda *_: None)
    monkeypatch.setattr("gradflow.training.run.WandbLogger", lambda experiment: None)
    monkeypatch.setattr(Trainer, "fit", raising)
    with pytest.raises(OSError, match="No space left"):
        fit(tmp_path / "within", "logger=offline")
    assert ended == ["group", "run", "group"]


def test_a_run_that_is_being_computed_is_refused(tmp_path: Path) -> None:
    with FileLock(tmp_path / ".lock"), pytest.raises(RunBusyError, match="another process"):
        fit(tmp_path)
    assert not (tmp_path / "status.json").exists()


def test_one_seed_gives_one_net_and_another_seed_another(
    tmp_path: Path, finished: tuple[Path, dict[str, float]]
) -> None:
    torch.manual_seed(99)  # the state of the process that calls is of no account
    metrics = fit(tmp_path / "again")
    fit(tmp_path / "other", "seed=1")
    assert metrics == finished[1]
    assert same_weights(tmp_path / "again", finished[0])
    assert not same_weights(tmp_path / "other", finished[0])


@pytest.mark.parametrize(
    ("overrides", "where", "step", "checkpointed"),
    [
        # Without validation, in the middle of an epoch, and at its end: 6 batches.
        (["validation=false", "checkpoint.every_n_steps=4"], "on_train_batch_end", 7, 4),
        (["validation=false", "checkpoint.every_n_steps=6"], "on_train_batch_end", 7, 6),
        # In the test, after training: nothing is trained or validated again.
        ([], "test_step", 8, 8),
    ],
)
def test_a_run_resumed_after_a_crash_has_the_record_of_an_uninterrupted_one(
    tmp_path: Path, overrides: list[str], where: str, step: int, checkpointed: int
) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    metrics = fit(whole, *overrides)
    with crash(Fit, where, step):
        fit(cut, *overrides)
    assert checkpoint(cut)["global_step"] == checkpointed
    assert fit(cut, *overrides) == pytest.approx(metrics, rel=0, abs=0, nan_ok=True)
    assert (cut / "metrics.csv").read_text() == (whole / "metrics.csv").read_text()
    assert status_of(cut).steps == status_of(whole).steps


def test_a_run_cut_off_before_its_first_checkpoint_begins_anew_without_old_rows(
    tmp_path: Path, finished: tuple[Path, dict[str, float]]
) -> None:
    config = compose([], CONF)
    config.save(tmp_path / CONFIG)
    Status("running").write(tmp_path)
    (tmp_path / "metrics.csv").write_text("step,epoch,train/loss\n3,0,123.0\n")
    shutil.copytree(finished[0] / GRADIENTS, tmp_path / GRADIENTS)
    train(config, tmp_path)
    assert [path.name for path in tmp_path.glob("gradients*")] == [GRADIENTS]
    kept = [{k: v for k, v in row.items() if v} for row in rows_of(tmp_path)]
    assert kept == [{k: v for k, v in row.items() if v} for row in rows_of(finished[0])]


def test_an_exception_leaves_a_failed_status_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ArithmeticError("first line\nsecond line")

    monkeypatch.setattr(Fit, "on_train_batch_end", broken)
    with pytest.raises(ArithmeticError):
        fit(tmp_path)
    status = status_of(tmp_path)
    assert (status.state, status.error) == ("failed", "ArithmeticError: first line")
    assert status.steps == 1  # it is known how far it came
