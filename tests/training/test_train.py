"""`train(config, folder)` in this process: its record, its determinism, what it refuses."""

import csv
import json
import math
import subprocess
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
import wandb
from filelock import FileLock
from small_run import REPOSITORY, SMALL

from gradflow.config import ConfigError, compose
from gradflow.config.schema import Study
from gradflow.gradients.record import read_gradients
from gradflow.training.classifier import Classifier
from gradflow.training.status import RunBusyError, Status
from gradflow.training.train import train


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
    assert fit(folder, "logger=offline", "threads=2") == metrics


def test_another_configuration_in_the_same_folder_is_refused(
    finished: tuple[Path, dict[str, float]],
) -> None:
    with pytest.raises(ConfigError, match=r"holds a run with lr=0\.1, not 0\.05") as error:
        fit(finished[0], "lr=0.05")
    assert "\n" not in str(error.value)


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
    two, one = read_gradients(tmp_path / "two"), read_gradients(tmp_path / "one")
    assert one["step"].unique().sort().to_list() == [0, 1]
    torch.testing.assert_close(two["norm"].to_torch(), one["norm"].to_torch(), rtol=1e-5, atol=0)
    torch.testing.assert_close(
        checkpoint(tmp_path / "two")["state_dict"],
        checkpoint(tmp_path / "one")["state_dict"],
        rtol=1e-5,
        atol=1e-7,
    )


def crash(where: str, step: int) -> pytest.MonkeyPatch:
    """Make the Classifier's method `where` raise at `step`, until `.undo()`."""
    patch = pytest.MonkeyPatch()
    original = getattr(Classifier, where)

    def crashing(self: Classifier, *args: Any) -> Any:
        if self.global_step == step:
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

    monkeypatch.setattr("gradflow.training.classifier.Classifier.on_train_batch_end", broken)
    with pytest.raises(ArithmeticError):
        fit(tmp_path)
    status = Status.read(tmp_path)
    assert status is not None
    assert (status.state, status.error) == ("failed", "ArithmeticError: first line")


def test_runs_of_one_process_are_several_runs_in_weights_and_biases(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind in ("DATA", "CACHE", "CONFIG"):
        monkeypatch.setenv(f"WANDB_{kind}_DIR", str(tmp_path / "wandb_files"))
    seen: list[wandb.Run] = []
    init = wandb.init
    monkeypatch.setattr(wandb, "init", lambda **k: seen.append(init(**k)) or seen[-1])
    for remedy in ("none", "relu"):
        config = compose([*SMALL, "logger=offline", "pathology=vanishing", f"remedy={remedy}"])
        config = config.model_copy(update={"study": Study(name="both")})
        train(config.model_copy(update={"steps": 2}), tmp_path / remedy, name=f"remedy={remedy}")
    first, second = seen
    assert first.id != second.id
    assert {run.group for run in seen} == {"both"}
    assert [run.name for run in seen] == ["remedy=none", "remedy=relu"]
    assert [set(run.tags or ()) for run in seen] == [{"vanishing"}, {"vanishing", "relu"}]
    assert [run.config["folder"] for run in seen] == [str(tmp_path / r) for r in ("none", "relu")]
    for remedy, one in zip(("none", "relu"), seen, strict=True):
        (file,) = (tmp_path / remedy / "wandb").glob("offline-run-*/run-*.wandb")
        assert one.id in file.name
