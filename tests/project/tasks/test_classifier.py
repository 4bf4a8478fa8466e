"""`train(config, folder)` in this process: its record, its determinism, what it refuses."""

import csv
import json
import math
import subprocess
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from filelock import FileLock
from small_run import REPOSITORY, SMALL

from gradflow.errors import ConfigError
from gradflow.gradients.record import read_gradients
from gradflow.launch.compose import compose
from gradflow.runs.files import RunBusyError
from gradflow.runs.status import Status
from project.tasks.classifier import Classifier
from project.train import train


def fit(folder: Path, *words: str) -> dict[str, float]:
    return train(compose([*SMALL, *words]), folder)


def checkpoint(folder: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = torch.load(folder / "checkpoints/last.ckpt", weights_only=True)
    return loaded


def same_weights(one: Path, other: Path) -> bool:
    a, b = checkpoint(one)["state_dict"], checkpoint(other)["state_dict"]
    return all(torch.equal(a[key], b[key]) for key in a)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, float]]:
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(REPOSITORY)
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
    splits = ("train", "validation", "test")
    assert {f"{split}/{what}" for split in splits for what in ("loss", "accuracy")} <= last.keys()


def test_status_says_what_the_run_was_made_with(finished: tuple[Path, dict[str, float]]) -> None:
    status = json.loads((finished[0] / "status.json").read_text())
    head = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=REPOSITORY, capture_output=True, text=True, check=False
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
        look(torch.load(finished[0] / f"checkpoints/{name}.ckpt", weights_only=True))


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


@pytest.mark.parametrize("words", ["threads=2", "threads=null"])
def test_another_thread_count_is_another_run(
    finished: tuple[Path, dict[str, float]], words: str
) -> None:
    with pytest.raises(ConfigError, match=r"holds a run with threads=1, not (2|None)"):
        fit(finished[0], words)


@pytest.mark.slow
def test_threads_and_random_state_are_the_callers_again(tmp_path: Path) -> None:
    """A run's `threads` would else round the next run of this process that has none."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    torch.manual_seed(7)
    try:
        fit(tmp_path / "one")
        assert torch.get_num_threads() == 2
        drawn = torch.rand(5)
        patch = crash("on_train_batch_end", 3)
        with pytest.raises(ArithmeticError):
            fit(tmp_path / "failing")
        patch.undo()
        assert torch.get_num_threads() == 2
        fit(tmp_path / "free", "threads=null")
    finally:
        torch.set_num_threads(before)
    assert torch.equal(drawn, torch.rand(5, generator=torch.Generator().manual_seed(7)))
    used = [Status.read(tmp_path / name) for name in ("one", "failing", "free")]
    assert [status.threads for status in used if status] == [1, 1, 2]


def raising(*_: object) -> None:
    raise ArithmeticError("crash")


def test_another_configuration_in_the_same_folder_is_refused(
    finished: tuple[Path, dict[str, float]],
) -> None:
    with pytest.raises(ConfigError, match=r"holds a run with lr=0\.1, not 0\.05") as error:
        fit(finished[0], "lr=0.05")
    assert "\n" not in str(error.value)


@pytest.mark.slow
@pytest.mark.parametrize("damage", [b'{"state": "fin', b"\xff\xfe", b"[]", b"", "field", "type"])
def test_a_run_whose_status_is_unreadable_is_left_as_it_is(
    tmp_path: Path, damage: bytes | str
) -> None:
    fit(tmp_path)
    values = json.loads((tmp_path / "status.json").read_text())
    changed = {"field": {"of_a_later_version": 1}, "type": {"metrics": None}}
    if isinstance(damage, str):
        damage = json.dumps(values | changed[damage]).encode()
    (tmp_path / "status.json").write_bytes(damage)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for words in ([], ["lr=0.05"]):
        with pytest.raises(ConfigError, match=r"status\.json: unreadable; remove the folder or "):
            fit(tmp_path, *words)
    assert {path: path.read_bytes() for path in before} == before


def test_the_configuration_is_compared_where_the_status_is_gone(tmp_path: Path) -> None:
    metrics = fit(tmp_path)
    (tmp_path / "status.json").unlink()
    with pytest.raises(ConfigError, match=r"holds a run with lr=0\.1, not 0\.05"):
        fit(tmp_path, "lr=0.05")
    assert fit(tmp_path) == metrics


def test_a_finished_run_without_its_configuration_is_left_as_it_is(tmp_path: Path) -> None:
    fit(tmp_path)
    (tmp_path / "config.yaml").unlink()
    with pytest.raises(ConfigError, match=r"config\.yaml: missing; remove the folder or "):
        fit(tmp_path)


@pytest.mark.parametrize("file", ["checkpoints/last.ckpt", "metrics.csv", "config.yaml"])
def test_a_damaged_file_is_named_before_the_run_is_resumed(tmp_path: Path, file: str) -> None:
    patch = crash("on_train_batch_end", 7)
    with pytest.raises(ArithmeticError):
        fit(tmp_path)
    patch.undo()
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

    monkeypatch.setattr(Status, "write", full)
    monkeypatch.setattr(
        "gradflow.runs.wandb_run.finish_run", lambda run, failed: ended.append("run")
    )
    monkeypatch.setattr("gradflow.training.run.leave_process_group", lambda: ended.append("group"))
    monkeypatch.setattr(
        "gradflow.runs.wandb_run.start_run", lambda *_: (_ for _ in ()).throw(ArithmeticError())
    )
    with pytest.raises(OSError, match="No space left"):
        fit(tmp_path / "before", "logger=offline")
    assert ended == ["group"]
    monkeypatch.setattr("gradflow.runs.wandb_run.start_run", lambda *_: object())
    monkeypatch.setattr("gradflow.runs.wandb_run.attach_record", lambda *_: None)
    monkeypatch.setattr("gradflow.training.run.WandbLogger", lambda experiment: None)
    monkeypatch.setattr("lightning.Trainer.fit", raising)
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


def test_accumulating_two_batches_is_one_batch_of_twice_the_size(tmp_path: Path) -> None:
    words = ["norm=none", "data.pad=0", "data.flip=false", "steps=2", "precision=64-true"]
    fit(tmp_path / "two", *words, "accumulate=2", "data.batch_size=10", "monitor.every_n_steps=1")
    fit(tmp_path / "one", *words, "data.batch_size=20", "monitor.every_n_steps=1")
    # Of the layers, only one of the accumulated batches is recorded.
    two, one = (
        read_gradients(tmp_path / name).filter(pl.col("kind") == "gradient")
        for name in ("two", "one")
    )
    assert one["step"].unique().sort().to_list() == [0, 1]
    torch.testing.assert_close(two["norm"].to_torch(), one["norm"].to_torch(), rtol=1e-5, atol=0)
    torch.testing.assert_close(
        checkpoint(tmp_path / "two")["state_dict"],
        checkpoint(tmp_path / "one")["state_dict"],
        rtol=1e-5,
        atol=1e-7,
    )


def test_a_group_of_accumulated_batches_is_whole_wherever_an_epoch_ends(tmp_path: Path) -> None:
    """An epoch has 5 batches of 40 images, so that its last one would be a group by itself."""
    words = ["norm=none", "data.pad=0", "data.flip=false", "steps=7", "precision=64-true"]
    words += ["monitor.every_n_steps=1", "validate_every=2"]
    fit(tmp_path / "two", *words, "accumulate=2", "data.batch_size=40")
    fit(tmp_path / "one", *words, "data.batch_size=80")
    two, one = (
        read_gradients(tmp_path / name).filter(pl.col("kind") == "gradient")
        for name in ("two", "one")
    )
    assert one["step"].unique().sort().to_list() == list(range(7))
    torch.testing.assert_close(two["norm"].to_torch(), one["norm"].to_torch(), rtol=1e-5, atol=0)
    for name in ("two", "one"):
        validated = [row for row in rows_of(tmp_path / name) if row["validation/loss"]]
        assert [int(row["step"]) for row in validated] == [1, 3, 5, 7]


def test_a_run_cut_off_inside_a_group_resumes_to_the_same_weights(tmp_path: Path) -> None:
    words = ["accumulate=2", "data.batch_size=40", "validate_every=3"]
    fit(tmp_path / "whole", *words)
    patch, original = pytest.MonkeyPatch(), Classifier.training_step

    def crashing(self: Classifier, batch: Any, batch_idx: int) -> torch.Tensor:
        if self.global_step == 5 and batch_idx % 2 == 1:  # the second batch of step 5
            raise ArithmeticError
        return original(self, batch, batch_idx)

    patch.setattr(Classifier, "training_step", crashing)
    with pytest.raises(ArithmeticError):
        fit(tmp_path / "cut", *words)
    patch.undo()
    assert checkpoint(tmp_path / "cut")["global_step"] == 3
    fit(tmp_path / "cut", *words)
    assert same_weights(tmp_path / "cut", tmp_path / "whole")
    assert rows_of(tmp_path / "cut") == rows_of(tmp_path / "whole")


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_steps_after_the_last_full_window_are_logged_too(tmp_path: Path) -> None:
    fit(tmp_path, "steps=10", "log_every=4")
    logged = [row for row in rows_of(tmp_path) if row["train/loss"]]
    assert [int(row["step"]) for row in logged] == [3, 7, 9]
    assert all(row["gradient_norm/total_before_clipping"] for row in logged)


def test_a_divergence_after_the_last_full_window_is_seen(tmp_path: Path) -> None:
    calls, original = [0], torch.nn.functional.cross_entropy

    def nan_at_the_tenth_step(*args: Any, **more: Any) -> torch.Tensor:
        calls[0] += 1
        return original(*args, **more) * (math.nan if calls[0] == 10 else 1)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.functional, "cross_entropy", nan_at_the_tenth_step)
        fit(tmp_path, "steps=10", "log_every=4", "data.validation=0", "test=false")
    status = Status.read(tmp_path)
    assert status is not None
    assert status.diverged_at == 10
    assert not math.isfinite(status.metrics["train/loss"])


def test_a_run_that_a_callback_ends_early_logs_its_last_steps(tmp_path: Path) -> None:
    early = "+callbacks.early={_target_: ending.EndAt, step: 6}"
    fit(tmp_path, "steps=20", "log_every=4", early)
    logged = [row for row in rows_of(tmp_path) if row["train/loss"]]
    assert [int(row["step"]) for row in logged] == [3, 5]


def test_the_norm_before_clipping_is_that_of_the_gradients_and_after_it_the_threshold(
    tmp_path: Path,
) -> None:
    fit(tmp_path, "clip=norm", "clip.max_norm=0.01", "monitor.every_n_steps=1")
    record = read_gradients(tmp_path).filter(pl.col("kind") == "gradient")
    squares = record.group_by("step").agg(pl.col("norm").pow(2).sum())
    expected = {step: math.sqrt(total) for step, total in squares.iter_rows()}
    logged = [row for row in rows_of(tmp_path) if row["train/loss"]]
    assert len(logged) == 2
    for row in logged:
        before, after = (
            float(row[f"gradient_norm/total_{when}_clipping"]) for when in ("before", "after")
        )
        assert before == pytest.approx(expected[int(row["step"])], rel=1e-5)
        assert before > 0.1
        assert after == pytest.approx(0.01, rel=1e-4)


def crash(where: str, step: int) -> pytest.MonkeyPatch:
    """Make the Classifier's method `where` raise at `step`, until `.undo()`."""
    patch = pytest.MonkeyPatch()
    original = getattr(Classifier, where)

    def crashing(self: Classifier, *args: Any) -> Any:
        if where == "test_step" or self.global_step == step:  # the test has a trainer of its own
            raise ArithmeticError("crash")
        return original(self, *args)

    patch.setattr(Classifier, where, crashing)
    return patch


@pytest.mark.parametrize(
    ("words", "where", "step", "checkpointed"),
    [
        # Without validation, the last checkpoint is that of the epoch's end: 6 batches.
        (["data.validation=0", "data.batch_size=50"], "on_train_batch_end", 7, 6),
        # In the test, after training: nothing is trained or validated again.
        ([], "test_step", 8, 8),
        # A run that had diverged stays so.
        (["lr=1e6", "norm=none", "steps=40"], "test_step", 4, 4),
    ],
)
def test_a_run_resumed_after_a_crash_has_the_record_of_an_uninterrupted_one(
    tmp_path: Path, words: list[str], where: str, step: int, checkpointed: int
) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    metrics = fit(whole, *words)
    patch = crash(where, step)
    with pytest.raises(ArithmeticError):
        fit(cut, *words)
    patch.undo()
    assert checkpoint(cut)["global_step"] == checkpointed
    assert fit(cut, *words) == pytest.approx(metrics, rel=0, abs=0, nan_ok=True)
    assert (cut / "metrics.csv").read_text() == (whole / "metrics.csv").read_text()
    one, other = Status.read(whole), Status.read(cut)
    assert one is not None
    assert other is not None
    assert (one.steps, one.diverged_at) == (other.steps, other.diverged_at)


def test_a_diverged_run_is_a_result(tmp_path: Path) -> None:
    metrics = fit(tmp_path, "lr=1e6", "norm=none", "steps=40")
    status = Status.read(tmp_path)
    assert status is not None
    assert (status.state, status.error) == ("finished", None)
    assert status.diverged_at is not None
    assert status.diverged_at == status.steps < 40
    assert math.isnan(metrics["train/loss"]) or math.isinf(metrics["train/loss"])


def test_an_exception_leaves_a_failed_status_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ArithmeticError("first line\nsecond line")

    monkeypatch.setattr("project.tasks.classifier.Classifier.on_train_batch_end", broken)
    with pytest.raises(ArithmeticError):
        fit(tmp_path)
    status = Status.read(tmp_path)
    assert status is not None
    assert (status.state, status.error) == ("failed", "ArithmeticError: first line")
    assert status.steps == 1  # it is known how far it came
