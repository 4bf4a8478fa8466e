"""What would fail late in a run fails in the dry step, in one line that says where."""

import dataclasses
import random
import re
import warnings
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from small_project import CONF, FEATURES, PROJECT, Fit, Points, build_trainer, fit

from gradflow.errors import ConfigError, DataError
from gradflow.launch.compose import compose
from gradflow.training.dry_step import dry_step

HERE = Path(__file__).name


def dry(*overrides: str, test: bool = True) -> None:
    config = compose(["steps=3", "validate_every=1", *overrides], CONF)
    dry_step(PROJECT, config, build_trainer, test=test)


def refusal(*overrides: str) -> str:
    with pytest.raises(ConfigError) as refused:
        dry(*overrides)
    text = str(refused.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize("method", ["training_step", "validation_step", "test_step"])
def test_each_step_of_a_task_is_tried_and_its_line_is_named(
    monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    def fail(task: Fit, batch: torch.Tensor, _: int) -> None:
        raise KeyError("a key\nthat is missing")  # the line to be named

    monkeypatch.setattr(Fit, method, fail)
    lines = Path(__file__).read_text().splitlines()
    number = next(k for k, line in enumerate(lines, 1) if line.endswith("# the line to be named"))
    text = refusal()
    assert re.match(rf"dry step: \S*{HERE}:{number}: KeyError: ", text), text
    assert text.endswith(" (dry_step=false trains without it)")


def test_a_test_step_is_not_tried_in_a_run_without_a_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Fit, "test_step", lambda *_: 1 / 0)
    dry(test=False)
    assert "ZeroDivisionError" in refusal()


@pytest.mark.parametrize(
    ("callback", "said"),
    [
        ("lightning.pytorch.callbacks.EarlyStopping, monitor: val_loss", "EarlyStopping: Runtime"),
        ("lightning.pytorch.callbacks.ModelCheckpoint, monitor: no", "ModelCheckpoint: Misconf"),
        ("lightning.pytorch.callbacks.StochasticWeightAveraging, swa_lrs: 0.1", "SWA"),
        (f"{__name__}.FailAtEpochEnd", f"{HERE}:"),
        (f"{__name__}.SaveAClass", "cannot be loaded with weights_only=True"),
    ],
)
def test_a_callback_that_would_fail_later_is_named(callback: str, said: str) -> None:
    text = refusal(f"+callbacks.mine={{_target_: {callback}}}")
    assert text.startswith("dry step: ")
    assert said in text


class FailAtEpochEnd(L.Callback):
    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        raise RuntimeError("at the end of an epoch")


class SaveAClass(L.Callback):
    def state_dict(self) -> dict[str, Any]:
        return {"kept": Path("x")}


class Speak(L.Callback):
    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        warnings.warn("said twice", stacklevel=2)


def test_a_learning_rate_finder_is_tried() -> None:
    finder = "+callbacks.f={_target_: lightning.pytorch.callbacks.LearningRateFinder}"
    dry(finder)  # this task has the attribute `lr` that it changes
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Fit, "__init__", without_lr)
        assert "LearningRateFinder: AttributeError: When using the learning rate" in refusal(finder)


def without_lr(task: Fit, net: torch.nn.Module, lr: float) -> None:
    L.LightningModule.__init__(task)
    task.net = net
    task.configure_optimizers = lambda: torch.optim.SGD(task.parameters(), lr=lr)  # type: ignore[method-assign]


def test_made_up_batches_are_preferred_to_data_that_would_have_to_be_fetched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def away(_: Points) -> None:
        raise DataError("no way to it")

    monkeypatch.setattr(Points, "prepare_data", away)
    with pytest.raises(DataError, match=r"^no way to it$"):
        dry()
    made_up = torch.zeros(2, FEATURES + 1)
    monkeypatch.setattr(Points, "made_up_batch", lambda _: made_up, raising=False)
    dry()
    monkeypatch.setattr(
        Points, "made_up_batch", lambda _: torch.zeros(2, FEATURES + 2), raising=False
    )
    monkeypatch.setattr(Fit, "training_step", lambda task, batch, _: task.net(batch[:, 1:]).sum())
    assert "mat1 and mat2 shapes cannot be multiplied (2x7 and 6x8)" in refusal()


class Foreign(Points):
    """Data as other people write it: it asks its trainer, and has two validation splits."""

    def setup(self, stage: str) -> None:
        assert self.trainer is not None
        self.ranks = self.trainer.world_size

    def val_dataloader(self) -> Any:
        return [super().val_dataloader(), super().val_dataloader()]


def test_real_loaders_are_used_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def validate(task: Fit, batch: torch.Tensor, _: int, dataloader_idx: int = 0) -> None:
        seen.append(dataloader_idx)
        if dataloader_idx == 0:
            task.log("validation/distance", batch.sum(), add_dataloader_idx=False)

    monkeypatch.setattr(Fit, "validation_step", validate)
    project = dataclasses.replace(PROJECT, build_data=Foreign)
    config = compose(["steps=30", "validate_every=2"], CONF)
    dry_step(project, config, build_trainer, test=True)
    assert set(seen) == {0, 1}


def test_made_up_batches_are_not_used_for_loaders_that_a_subclass_has_replaced() -> None:
    class MadeUp(Points):
        def made_up_batch(self) -> torch.Tensor:
            return torch.zeros(2, 1)  # no net takes it

    class Own(MadeUp):
        def train_dataloader(self) -> Any:
            return super().train_dataloader()

    config = compose(["steps=3", "validate_every=2"], CONF)
    dry_step(dataclasses.replace(PROJECT, build_data=Own), config, build_trainer, test=True)
    project = dataclasses.replace(PROJECT, build_data=MadeUp)
    with pytest.raises(ConfigError, match="shapes cannot be multiplied"):
        dry_step(project, config, build_trainer, test=True)


def test_a_missing_test_split_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(Points, "test_dataloader")
    assert refusal() == "test=true: Points has no test split; test=false"
    dry(test=False)


def test_what_is_planned_for_the_whole_run_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    planned: list[float] = []

    class Plans(L.Callback):
        def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
            planned.append(trainer.estimated_stepping_batches)

        def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
            planned.append(trainer.global_step)

    monkeypatch.setattr(f"{__name__}.Speak", Plans)
    dry("steps=500", "validate_every=100", f"+callbacks.b={{_target_: {__name__}.Speak}}")
    assert planned == [500, 3]


def test_nothing_is_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "best.ckpt").write_text("of another run")
    torch.set_num_threads(1)
    L.seed_everything(7, verbose=False)
    drawn = [(random.random(), np.random.rand(), torch.rand(1)) for _ in range(2)]
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        dry(
            "seed=7",
            "steps=3",
            "callbacks=[]",
            f"+callbacks.a={{_target_: {ModelCheckpoint.__module__}.ModelCheckpoint, "
            f"dirpath: {kept}, filename: best, save_last: link, enable_version_counter: false}}",
            f"+callbacks.b={{_target_: {__name__}.Speak}}",
        )
    again = [(random.random(), np.random.rand(), torch.rand(1)) for _ in range(2)]
    assert again == drawn
    assert not [x for x in warned if "said twice" in str(x.message)]
    assert capfd.readouterr() == ("", "")
    assert [path.name for path in tmp_path.rglob("*")] == ["kept", "best.ckpt"]
    assert (kept / "best.ckpt").read_text() == "of another run"


def test_the_task_and_the_data_of_the_run_are_not_those_of_the_dry_step(tmp_path: Path) -> None:
    fit(tmp_path / "plain", "steps=5")
    dry("steps=3")
    fit(tmp_path / "after", "steps=5")
    a, b = (
        torch.load(tmp_path / name / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
        for name in ("plain", "after")
    )
    assert all(torch.equal(a[name], b[name]) for name in a)
