"""The mean loss of a record: over every batch since the last one, as training_step returned it."""

import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.plugins.precision import MixedPrecision
from polars.testing import assert_frame_equal
from tiny_run import BatchOfTheStep, Smooth, checkpoint_each_epoch, watch
from torch import Tensor

from gradflow.gradients.flow import read_flows
from gradflow.gradients.mean_loss import MeanLoss
from gradflow.gradients.record import read_gradients, scan_gradients


class Noted(Smooth):
    """Notes what its training_step returns, by the optimizer steps done; skips some batches."""

    def __init__(self, skipped: Sequence[int] = ()) -> None:
        super().__init__()
        self.skipped = skipped
        self.returned: list[tuple[int, float]] = []

    def training_step(self, batch: list[Tensor], index: int) -> Tensor | None:  # type: ignore[override]
        if index in self.skipped:
            return None
        loss = super().training_step(batch, index)
        self.returned.append((self.global_step, loss.item()))
        return loss

    def over(self, steps: range) -> list[float]:
        return [loss for step, loss in self.returned if step in steps]


def means(folder: Path) -> list[tuple[int, int, float]]:
    """Step, number of batches and mean loss of every record."""
    record = read_gradients(folder)
    return record.filter(kind="mean_loss").select("step", "elements", "max").rows()


def assert_means_are(folder: Path, module: Noted, windows: dict[int, range]) -> None:
    found = means(folder)
    assert [step for step, _, _ in found] == list(windows)
    for (_, batches, mean), steps in zip(found, windows.values(), strict=True):
        losses = module.over(steps)
        assert batches == len(losses)
        assert mean == pytest.approx(statistics.fmean(losses), rel=1e-5)


WINDOWS = {0: range(1), 5: range(1, 6), 10: range(6, 11), 11: range(11, 12)}


def test_it_is_over_all_steps_since_the_last_record(tmp_path: Path) -> None:
    module = Noted()
    watch(tmp_path, module, every_n_steps=5, max_steps=12)
    assert_means_are(tmp_path, module, WINDOWS)
    assert sum(batches for _, batches, _ in means(tmp_path)) == 12


def test_it_is_over_every_batch_of_accumulated_steps(tmp_path: Path) -> None:
    module = Noted()
    watch(tmp_path, module, every_n_steps=5, accumulate_grad_batches=3, max_steps=12)
    assert_means_are(tmp_path, module, WINDOWS)
    assert means(tmp_path)[1][1] == 15


@pytest.mark.filterwarnings("ignore:.*training_step.* returned .None")
def test_a_batch_that_training_skips_is_none_of_them(tmp_path: Path) -> None:
    module = Noted(skipped=(2, 3))
    watch(tmp_path, module, every_n_steps=5, max_steps=12)
    assert_means_are(tmp_path, module, WINDOWS)


def test_the_fp16_scale_is_divided_out_of_every_batch(tmp_path: Path) -> None:
    """The scale moves between the batches: it doubles after every other step."""
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**8, growth_interval=2)
    plugin = MixedPrecision("16-mixed", "cpu", scaler=scaler)
    module = Noted()
    watch(tmp_path, module, every_n_steps=5, plugins=[plugin], max_steps=12)
    assert_means_are(tmp_path, module, WINDOWS)


def test_a_loss_that_is_not_finite_leaves_none(tmp_path: Path) -> None:
    class Broken(Noted):
        def training_step(self, batch: list[Tensor], index: int) -> Tensor | None:  # type: ignore[override]
            loss = super().training_step(batch, index)
            return loss * math.nan if self.global_step == 3 else loss

    monitor = watch(tmp_path, Broken(), every_n_steps=5, max_steps=6)
    assert means(tmp_path)[1] == (5, 5, None)
    assert monitor.verdict is not None
    assert monitor.verdict.kind == "diverged"


def test_a_resumed_run_has_the_means_of_an_uninterrupted_one(tmp_path: Path) -> None:
    """Its checkpoint is from the middle between two records."""
    options: dict[str, Any] = {"every_n_steps": 5, "max_steps": 18}

    class Raise(Callback):
        def on_train_batch_end(self, trainer: Trainer, *_: object) -> None:
            if trainer.global_step == 14:
                raise RuntimeError

    saver = checkpoint_each_epoch(tmp_path / "checkpoints")
    callbacks = (Raise(), saver)
    cut = tmp_path / "cut"
    with pytest.raises(RuntimeError):
        watch(cut, BatchOfTheStep(), callbacks=callbacks, enable_checkpointing=True, **options)
    last = tmp_path / "checkpoints" / "last.ckpt"  # 12 steps are done, and step 11 in no record
    watch(cut, BatchOfTheStep(), resume=last, **options)
    watch(tmp_path / "whole", BatchOfTheStep(), **options)
    assert [batches for _, batches, _ in means(cut)] == [1, 5, 5, 5, 2]
    assert_frame_equal(read_gradients(cut), read_gradients(tmp_path / "whole"))


def test_a_sum_in_bfloat16_loses_nothing() -> None:
    """256 ones: bfloat16 counts no further than that, and loses every quarter long before."""
    mean = MeanLoss()
    for _ in range(1000):
        mean.add(torch.tensor(1.25, dtype=torch.bfloat16))
    read = mean.read()
    assert read is not None
    assert (read[0].tolist(), read[1]) == ([1.25, 1.25], 1000)
    mean.reset()
    assert mean.read() is None


def test_the_deviation_is_that_of_the_losses_of_single_batches(tmp_path: Path) -> None:
    module = Noted()
    monitor = watch(tmp_path, module, every_n_steps=5, max_steps=11)
    losses = module.over(range(6, 11))
    assert monitor.flows[2].loss_deviation == pytest.approx(statistics.pstdev(losses), rel=1e-6)
    again = read_flows(scan_gradients(tmp_path))[2]
    assert again.loss_deviation == monitor.flows[2].loss_deviation
