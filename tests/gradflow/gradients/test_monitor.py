"""The monitor in real Lightning runs: whose gradients it records, and when."""

import math
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger
from polars.testing import assert_frame_equal
from tiny_run import (
    BATCHES,
    BatchOfTheStep,
    Smooth,
    TinyCNN,
    batches,
    checkpoint_each_epoch,
    fit,
)
from torch import Tensor, nn

from gradflow.gradients.monitor import GradientMonitor
from gradflow.gradients.record import FOLDER, read_gradients
from gradflow.training.clipping import ValueClip

NAMES = [name for name, _ in TinyCNN().named_parameters()]


def float64_gradients(module: LightningModule, first: int, count: int) -> dict[str, Tensor]:
    """d(mean loss over `count` batches)/dw, by autograd in float64, of a module before training."""
    twin = type(module)().double()
    loss = torch.zeros((), dtype=torch.float64)
    for images, labels in list(batches())[first : first + count]:
        loss = loss + F.cross_entropy(twin.net(images.double()), labels) / count
    loss.backward()
    return {name: parameter.grad for name, parameter in twin.named_parameters()}


def assert_rows_are(rows: pl.DataFrame, expected: dict[str, Tensor]) -> None:
    assert rows["name"].to_list() == list(expected)
    for row, gradient in zip(rows.iter_rows(named=True), expected.values(), strict=True):
        assert row["kind"] == "gradient"
        assert row["elements"] == gradient.numel()
        assert row["norm"] == pytest.approx(gradient.norm().item(), rel=1e-5)
        assert row["max"] == pytest.approx(gradient.abs().max().item(), rel=1e-5)
        assert row["rms"] == pytest.approx(gradient.square().mean().sqrt().item(), rel=1e-5)


def at(folder: Path, step: int) -> pl.DataFrame:
    of_step = (pl.col("step") == step) & (pl.col("kind") == "gradient")
    return read_gradients(folder).filter(of_step)


def recorded_steps(folder: Path) -> list[int]:
    return read_gradients(folder)["step"].unique(maintain_order=True).to_list()


def test_the_recorded_gradient_is_autograds_in_float64(tmp_path: Path) -> None:
    module = fit(tmp_path, Smooth())
    assert_rows_are(at(tmp_path, 0), float64_gradients(module, 0, 1))


def test_accumulation_records_the_mean_over_the_accumulated_batches(tmp_path: Path) -> None:
    module = fit(tmp_path, Smooth(), accumulate_grad_batches=3, max_steps=4)
    assert_rows_are(at(tmp_path, 0), float64_gradients(module, 0, 3))
    assert recorded_steps(tmp_path) == [0, 2, 3]


def test_the_record_is_from_before_clipping(tmp_path: Path) -> None:
    class Clipped(Smooth):
        def configure_gradient_clipping(self, *_: object, **__: object) -> None:
            ValueClip(1e-12)(self)

    module = fit(tmp_path, Clipped())
    assert_rows_are(at(tmp_path, 0), float64_gradients(module, 0, 1))
    for parameter in module.parameters():
        assert parameter.grad is not None
        assert parameter.grad.abs().max() <= 1.001e-12


def test_under_bf16_autocast_the_record_is_close_to_float64(tmp_path: Path) -> None:
    module = fit(tmp_path, Smooth(), precision="bf16-mixed", max_steps=1)
    expected = float64_gradients(module, 0, 1)
    for row in at(tmp_path, 0).iter_rows(named=True):
        assert row["norm"] == pytest.approx(expected[row["name"]].norm().item(), rel=0.05)


def test_fp16_loss_scale_is_divided_out_and_an_overflow_is_counted(tmp_path: Path) -> None:
    """A scale of 2^16 fits, one of 2^40 overflows: its gradients are recorded as Inf or NaN."""
    from lightning.pytorch.plugins.precision import MixedPrecision

    for exponent in (16, 40):
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**exponent)
        plugin = MixedPrecision("16-mixed", "cpu", scaler=scaler)
        folder = tmp_path / str(exponent)
        module = fit(folder, Smooth(), plugins=[plugin], max_steps=1)
        if exponent == 16:
            expected = float64_gradients(module, 0, 1)
            for row in at(folder, 0).iter_rows(named=True):
                assert row["norm"] == pytest.approx(expected[row["name"]].norm().item(), rel=0.05)
        else:
            assert at(folder, 0).select(pl.col("nans", "infs").sum()).sum_horizontal()[0] > 0


@pytest.mark.parametrize(
    ("every", "options", "steps"),
    [
        (1, {"max_steps": 3}, [0, 1, 2]),
        (5, {"max_steps": 12}, [0, 5, 10, 11]),
        (5, {"max_steps": 11}, [0, 5, 10]),
        (100, {"max_steps": 1}, [0]),
        (4, {"max_steps": -1, "max_epochs": 2}, [0, 4, 8, 2 * BATCHES - 1]),
        (3, {"max_steps": -1, "max_epochs": 2, "accumulate_grad_batches": 4}, [0, 3]),
    ],
)
def test_every_nth_step_is_recorded_with_the_first_and_the_last(
    tmp_path: Path, every: int, options: dict[str, Any], steps: list[int]
) -> None:
    fit(tmp_path, every_n_steps=every, **options)
    assert recorded_steps(tmp_path) == steps


def test_names_are_the_parameters_from_input_to_output(tmp_path: Path) -> None:
    fit(tmp_path, max_steps=1)
    rows = at(tmp_path, 0)
    assert rows["name"].to_list() == NAMES
    assert rows["index"].to_list() == list(range(len(NAMES)))


def test_a_compiled_net_keeps_its_names_and_gradients(tmp_path: Path) -> None:
    module = Smooth()
    module.net = torch.compile(module.net, backend="eager")
    assert "net._orig_mod.0.weight" in dict(module.named_parameters())
    fit(tmp_path, module, max_steps=1)
    assert_rows_are(at(tmp_path, 0), float64_gradients(Smooth(), 0, 1))


def test_frozen_parameters_are_left_out_and_missing_gradients_are_nulls(tmp_path: Path) -> None:
    class Partly(Smooth):
        def __init__(self) -> None:
            super().__init__()
            self.unused = nn.Linear(2, 2)
            self.net[0].bias.requires_grad_(False)

    fit(tmp_path, Partly(), max_steps=1)
    rows = at(tmp_path, 0)
    frozen, used = "net.0.bias", ["net.0.weight", "net.3.weight", "net.3.bias"]
    assert rows["name"].to_list() == [*used, "unused.weight", "unused.bias"]
    assert frozen not in rows["name"]
    assert rows["index"].to_list() == [0, 2, 3, 4, 5]  # positions do not move when layers thaw
    assert rows["norm"].is_null().to_list() == [False, False, False, True, True]
    assert rows["elements"].to_list()[-2:] == [4, 2]


def test_a_shared_parameter_has_one_row_with_its_whole_gradient(tmp_path: Path) -> None:
    class Shared(TinyCNN):
        def __init__(self) -> None:
            super().__init__()
            layer = nn.Linear(192, 192, bias=False)
            self.net = nn.Sequential(nn.Flatten(), layer, nn.Tanh(), layer, nn.Linear(192, 10))

    module = fit(tmp_path, Shared(), max_steps=1)
    rows = at(tmp_path, 0)
    assert rows["name"].to_list() == ["net.1.weight", "net.4.weight", "net.4.bias"]
    assert_rows_are(rows, float64_gradients(module, 0, 1))


def test_a_layer_that_is_all_nan_is_counted_and_the_others_are_measured(tmp_path: Path) -> None:
    class Broken(Smooth):
        def on_after_backward(self) -> None:
            assert self.net[0].weight.grad is not None
            self.net[0].weight.grad.fill_(math.nan)

    module = fit(tmp_path, Broken(), max_steps=1)
    rows = at(tmp_path, 0)
    assert rows["nans"].to_list() == [108, 0, 0, 0]
    assert rows["norm"].is_null().to_list() == [True, False, False, False]
    assert_rows_are(rows[1:], dict(list(float64_gradients(module, 0, 1).items())[1:]))


def test_with_several_optimizers_a_step_has_the_parameters_of_each(tmp_path: Path) -> None:
    class Two(Smooth):
        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = False

        def training_step(self, batch: list[Tensor], _: int) -> None:
            loss = super().training_step(batch, 0)
            first, second = self.optimizers()
            self.zero_grad()
            self.manual_backward(loss)
            first.step()
            second.step()

        def configure_optimizers(self) -> list[torch.optim.Optimizer]:
            return [torch.optim.SGD(m.parameters(), lr=0.1) for m in (self.net[0], self.net[3])]

    fit(tmp_path, Two(), every_n_steps=1, max_steps=4)  # Lightning counts both optimizers' steps
    rows = read_gradients(tmp_path).filter(pl.col("kind") == "gradient")
    assert rows["step"].to_list() == [step for step in range(2) for _ in range(4)]
    assert rows["name"].to_list() == 2 * [name for name, _ in Two().named_parameters()]


def test_an_optimizer_that_evaluates_its_loss_repeatedly_is_recorded_once_a_step(
    tmp_path: Path,
) -> None:
    class Lbfgs(Smooth):
        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.LBFGS(self.parameters(), lr=0.1, max_iter=4)

    module = fit(tmp_path, Lbfgs(), every_n_steps=1, max_steps=2)
    assert len(read_gradients(tmp_path).filter(pl.col("kind") == "gradient")) == 2 * 4
    assert_rows_are(at(tmp_path, 0), float64_gradients(module, 0, 1))


def test_other_loggers_get_nothing(tmp_path: Path) -> None:
    fit(tmp_path, logger=CSVLogger(tmp_path, name="", version=""), log_every_n_steps=1)
    metrics = tmp_path / "metrics.csv"
    assert not metrics.exists() or "gradient" not in metrics.read_text()


def test_a_run_that_raises_leaves_its_record(tmp_path: Path) -> None:
    class Raise(Callback):
        def on_train_batch_end(self, trainer: Trainer, *_: object) -> None:
            if trainer.global_step == 7:
                raise RuntimeError("out of luck")

    with pytest.raises(RuntimeError, match="out of luck"):
        fit(tmp_path, callbacks=(Raise(),))
    assert recorded_steps(tmp_path) == [0, 2, 4, 6]


@pytest.mark.slow
def test_a_run_killed_and_resumed_has_the_record_of_an_uninterrupted_one(tmp_path: Path) -> None:
    """Killed with -9 in its third epoch; resumed from the end of the second, 12 steps in."""
    program = [sys.executable, str(Path(__file__).parents[1] / "helpers" / "tiny_run.py")]
    killed = subprocess.run([*program, str(tmp_path / "killed"), "16"], capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    whole_parts = pl.read_parquet(tmp_path / "killed" / FOLDER)
    assert whole_parts["step"].unique(maintain_order=True).to_list() == [0, 2, 4, 6, 8, 10]

    checkpoint = tmp_path / "killed" / "checkpoints" / "last.ckpt"
    fit(tmp_path / "killed", BatchOfTheStep(), max_steps=18, resume=checkpoint)
    fit(tmp_path / "whole", BatchOfTheStep(), max_steps=18)
    assert_frame_equal(read_gradients(tmp_path / "killed"), read_gradients(tmp_path / "whole"))


def test_resuming_drops_the_rows_after_the_checkpoint(tmp_path: Path) -> None:
    """The crashed run had recorded steps 12 and 14; the resumed one records every fifth step."""
    saver = checkpoint_each_epoch(tmp_path / "checkpoints")

    class Raise(Callback):
        def on_train_batch_end(self, trainer: Trainer, *_: object) -> None:
            if trainer.global_step == 16:
                raise RuntimeError

    with pytest.raises(RuntimeError):
        fit(tmp_path, callbacks=(Raise(), saver), max_steps=18, enable_checkpointing=True)
    assert recorded_steps(tmp_path) == [0, 2, 4, 6, 8, 10, 12, 14]
    last = tmp_path / "checkpoints" / "last.ckpt"
    fit(tmp_path, every_n_steps=5, max_steps=18, resume=last)
    assert recorded_steps(tmp_path) == [0, 2, 4, 6, 8, 10, 15, 17]


def test_a_new_run_in_the_same_folder_starts_a_new_record(tmp_path: Path) -> None:
    fit(tmp_path, max_steps=12)
    fit(tmp_path, max_steps=3)
    assert recorded_steps(tmp_path) == [0, 2]


@pytest.mark.parametrize("build", [lambda: GradientMonitor(0), lambda: GradientMonitor(-3)])
def test_a_cadence_below_one_is_refused_in_one_line(build: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=r"^every_n_steps=-?\d: must be at least 1$"):
        build()
