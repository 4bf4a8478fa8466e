"""What the monitor says of a run is what its record says."""

import math
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from tiny_run import BatchOfTheStep, Smooth, checkpoint_each_epoch, fit, rows, watch
from torch import Tensor, nn

from gradflow.gradients.flow import Flow, read_flows
from gradflow.gradients.monitor import HISTOGRAMS, GradientMonitor
from gradflow.gradients.record import read_gradients


class Partly(Smooth):
    """A frozen layer, and one that is never used."""

    def __init__(self) -> None:
        super().__init__()
        net = self.net
        del self.net
        self.unused, self.net = nn.Linear(50, 50), net
        net[0].requires_grad_(False)


def assert_same(flows: list[Flow], others: list[Flow]) -> None:
    assert [flow.step for flow in flows] == [flow.step for flow in others]
    for flow, other in zip(flows, others, strict=True):
        np.testing.assert_equal(asdict(flow), asdict(other))


@pytest.mark.parametrize("module", [Smooth, Partly, BatchOfTheStep])
@pytest.mark.parametrize("histograms", [(), HISTOGRAMS])
def test_the_flows_of_the_record_are_the_monitors_own(
    tmp_path: Path, module: type[Smooth], histograms: tuple[str, ...]
) -> None:
    monitor = watch(tmp_path, module(), 5, histograms, max_steps=12)
    assert [flow.step for flow in monitor.flows] == [0, 5, 10, 11]
    assert_same(read_flows(read_gradients(tmp_path)), monitor.flows)
    assert len(monitor.flows[0].layers) == 2
    assert monitor.flows[0].outputs == 10


def test_histograms_change_no_figure(tmp_path: Path) -> None:
    plain = watch(tmp_path / "plain", Smooth())
    more = watch(tmp_path / "more", Smooth(), histograms=HISTOGRAMS)
    for one, other in zip(plain.flows, more.flows, strict=True):
        assert one.layers == other.layers
        for name in ("pre_activation", "gradient", "dead", "update_to_weight"):
            np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-9)


def test_a_run_resumed_in_a_new_folder_begins_a_record_there(tmp_path: Path) -> None:
    saver = checkpoint_each_epoch(tmp_path / "checkpoints")
    watch(tmp_path / "old", callbacks=(saver,), max_steps=6, enable_checkpointing=True)
    last = tmp_path / "checkpoints" / "last.ckpt"
    resumed = watch(tmp_path / "new", max_steps=8, resume=last)
    assert [flow.step for flow in resumed.flows] == [6, 7]


def test_a_resumed_run_goes_on_with_the_flows_before_its_checkpoint(tmp_path: Path) -> None:
    """It is interrupted after step 15, three steps after its checkpoint."""

    class Raise(Callback):
        def on_train_batch_end(self, trainer: Trainer, *_: object) -> None:
            if trainer.global_step == 15:
                raise RuntimeError

    saver = checkpoint_each_epoch(tmp_path / "checkpoints")
    with pytest.raises(RuntimeError):
        watch(
            tmp_path,
            BatchOfTheStep(),
            every_n_steps=2,
            callbacks=(Raise(), saver),
            max_steps=18,
            enable_checkpointing=True,
        )
    last = tmp_path / "checkpoints" / "last.ckpt"
    resumed = watch(tmp_path, BatchOfTheStep(), every_n_steps=2, max_steps=18, resume=last)
    whole = GradientMonitor(2, on_error="raise")
    fit(
        tmp_path / "whole",
        BatchOfTheStep(),
        every_n_steps=None,
        callbacks=(whole,),
        max_steps=18,
    )
    assert_same(resumed.flows, whole.flows)
    assert_same(read_flows(read_gradients(tmp_path)), whole.flows)


def test_a_run_that_goes_on_reads_no_more_histograms_than_those_of_a_part(
    tmp_path: Path, histograms_read: list[int]
) -> None:
    """The part that the checkpoint's step lies in is read, to drop what is about to be repeated."""
    whole = watch(tmp_path, Smooth(), max_steps=50)
    histograms_read.clear()
    resumed = GradientMonitor(1, on_error="raise")
    trainer: Any = SimpleNamespace(
        is_global_zero=True,
        default_root_dir=tmp_path,
        global_step=30,
        estimated_stepping_batches=50,
        max_steps=50,
        optimizers=[torch.optim.SGD(Smooth().parameters())],
    )
    resumed.on_train_start(trainer, Smooth())
    assert_same(resumed.flows, whole.flows[:30])
    of_a_part = 20 * len(list(Smooth().parameters()))
    assert histograms_read == [of_a_part]


class Named(Smooth):
    """Parameters whose names do not tell what they are."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.PReLU(), nn.Flatten(), Kernel(144, 10)
        )


class Kernel(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(inputs, outputs) / inputs)
        self.offset_weight = nn.Parameter(torch.ones(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.kernel + self.offset_weight


def test_steps_are_compared_with_parameters_of_two_dimensions_or_more(tmp_path: Path) -> None:
    class Before(Callback):
        def on_train_batch_start(self, trainer: Trainer, module: LightningModule, *_: Any) -> None:
            before.append({n: p.detach().clone() for n, p in module.named_parameters()})

    before: list[dict[str, Tensor]] = []
    module = Named()
    (flow,) = watch(tmp_path, module, callbacks=(Before(),), max_steps=1).flows
    expected = [
        math.log10((p.detach() - before[0][n]).norm() / before[0][n].norm())
        for n, p in module.named_parameters()
        if n in ("net.0.weight", "net.4.kernel")
    ]
    np.testing.assert_allclose(flow.update_to_weight, expected, rtol=1e-4)
    recorded = rows(tmp_path, "weight")
    assert dict(recorded["name", "dimensions"].iter_rows()) == {
        n: p.dim() for n, p in module.named_parameters()
    }
    assert rows(tmp_path, "pre_activation")["dimensions"].is_null().all()


def test_the_chance_loss_that_the_user_gives_wins_over_the_modules(tmp_path: Path) -> None:
    class Says(Smooth):
        chance_loss = 7.0

    monitor = GradientMonitor(1, chance_loss=3.5, on_error="raise")
    fit(tmp_path, Says(), every_n_steps=None, callbacks=(monitor,), max_steps=2)
    assert monitor.flows[0].chance == read_flows(read_gradients(tmp_path))[0].chance == 3.5


def test_a_loss_keeps_its_sign(tmp_path: Path) -> None:
    class Negative(Smooth):
        def training_step(self, batch: list[Tensor], index: int) -> Tensor:
            return super().training_step(batch, index) - 10

    monitor = watch(tmp_path, Negative(), max_steps=2)
    assert monitor.flows[0].loss is not None
    assert -9 < monitor.flows[0].loss < -6
    assert monitor.flows[1].mean_loss == pytest.approx(monitor.flows[1].loss)
