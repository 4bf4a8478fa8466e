"""A watched run keeps no memory, no hook and no mode of its own, whatever happens in it."""

import gc
import weakref
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from tiny_run import Smooth, batches, fit, watch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode, _get_current_function_mode_stack
from watched import hooks

from gradflow.gradients.monitor import GradientMonitor
from gradflow.gradients.replay import Call


class Remembers(Smooth):
    """Functions, modules, and a parameter that enters a nonlinearity; notes its tensors weakly."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Parameter(torch.zeros(4, 1, 1))
        self.seen: list[weakref.ref[Tensor]] = []

    def training_step(self, batch: list[Tensor], _: int) -> Tensor:
        z = self.net[0](batch[0]) * torch.sigmoid(self.gate)
        hidden = torch.tanh(z)
        logits = self.net[3](hidden.flatten(1))
        self.seen += [weakref.ref(x) for x in (z, hidden, logits)]
        return F.cross_entropy(logits, batch[1])


def test_no_tensor_of_a_pass_lives_longer_than_its_step(tmp_path: Path) -> None:
    module = Remembers()
    watch(tmp_path, module, max_steps=6)
    gc.collect()
    assert len(module.seen) == 18
    assert not [x for x in module.seen if x() is not None]
    assert not module.gate._backward_hooks  # a leaf would keep its hooks


class Mode(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))


class Enters(Callback):
    """Enters a mode of its own at a batch's start, before the monitor, and leaves it at its end."""

    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        self.mode = Mode()
        self.mode.__enter__()

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        assert _get_current_function_mode_stack()[-1] is self.mode
        self.mode.__exit__(None, None, None)


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("first", [True, False])
def test_modes_of_others_are_left_to_them(tmp_path: Path, accumulate: int, first: bool) -> None:
    monitor = GradientMonitor(1, on_error="raise")
    callbacks = (Enters(), monitor) if first else (monitor, Enters())
    fit(
        tmp_path,
        Smooth(),
        every_n_steps=None,
        callbacks=callbacks,
        accumulate_grad_batches=accumulate,
        max_steps=4,
    )
    assert _get_current_function_mode_stack() == []
    assert [flow.layers for flow in monitor.flows] == 4 * [["net.1", "net.3"]]


def test_validation_is_not_watched(tmp_path: Path) -> None:
    counted: list[int] = []

    class Validates(Smooth):
        def validation_step(self, batch: list[Tensor], _: int) -> None:
            counted.append(hooks(self) + len(_get_current_function_mode_stack()))

    watch(tmp_path, Validates(), val=batches(), max_steps=12, every_n_steps=5)
    assert len(counted) == 12
    assert not any(counted)


def test_a_frozen_transformer_computes_what_it_computes_unwatched(tmp_path: Path) -> None:
    """Its fast path zeroes padded positions, and torch leaves it where functions are watched."""

    class Frozen(Smooth):
        def __init__(self) -> None:
            super().__init__()
            layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
            self.encoder = nn.TransformerEncoder(layer, 2).requires_grad_(False)
            self.head = nn.Linear(8, 10)

        def training_step(self, batch: list[Tensor], _: int) -> Tensor:
            self.encoder.eval()
            x = batch[0].flatten(1)[:, :32].view(-1, 4, 8)
            mask = torch.zeros(len(x), 4, dtype=torch.bool)
            mask[:, 2:] = True
            with torch.no_grad():
                x = self.encoder(x, src_key_padding_mask=mask)
            return F.cross_entropy(self.head(x.sum(1)), batch[1])

    alone = fit(tmp_path / "alone", Frozen(), every_n_steps=None)
    watched = Frozen()
    watch(tmp_path / "watched", watched, max_steps=12)
    for key, value in alone.state_dict().items():
        assert torch.equal(watched.state_dict()[key], value), key


def test_a_loss_of_several_numbers_is_recorded_by_its_mean(tmp_path: Path) -> None:
    class Vector(Smooth):
        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = False

        def training_step(self, batch: list[Tensor], _: int) -> None:  # type: ignore[override]
            loss = F.cross_entropy(self.net(batch[0]), batch[1], reduction="none")
            optimizer: Any = self.optimizers()
            optimizer.zero_grad()
            self.manual_backward(loss, gradient=torch.full_like(loss, 1 / len(loss)))
            optimizer.step()

    saver = ModelCheckpoint(tmp_path / "checkpoints", every_n_train_steps=2)
    monitor = watch(tmp_path, Vector(), callbacks=(saver,), enable_checkpointing=True, max_steps=4)
    assert [flow.step for flow in monitor.flows] == [0, 1, 2, 3]
    assert monitor.flows[0].loss == pytest.approx(2.3, abs=0.3)


def test_a_record_that_cannot_be_written_leaves_no_hook(tmp_path: Path) -> None:
    class Replace(Callback):
        def on_train_batch_end(self, trainer: Trainer, module: LightningModule, *_: Any) -> None:
            if trainer.global_step == 5:
                (tmp_path / "gradients.parquet").write_text("in the way")

    monitor, module = GradientMonitor(1), Smooth()
    fit(tmp_path, module, every_n_steps=None, callbacks=(monitor, Replace()), max_steps=60)
    assert monitor.is_disabled
    assert hooks(module) == 0
    assert monitor._watch is None
    assert monitor._origin is None


def test_an_error_while_a_compiled_call_is_saved_ends_no_training(tmp_path: Path) -> None:
    class Lazy(Smooth):
        def __init__(self) -> None:
            super().__init__()
            part = nn.Sequential(nn.Flatten(), nn.LazyBatchNorm1d(), nn.Linear(192, 10))
            self.net = torch.compile(part, backend="eager")  # type: ignore[assignment]

    monitor = GradientMonitor(1)
    fit(tmp_path, Lazy(), every_n_steps=None, callbacks=(monitor,), max_steps=3)
    assert monitor.is_disabled


def test_the_logarithm_of_the_outputs_is_no_chance_for_a_loss_of_numbers(tmp_path: Path) -> None:
    class Numbers(Smooth):
        def training_step(self, batch: list[Tensor], _: int) -> Tensor:
            return F.mse_loss(self.net(batch[0]), torch.ones(len(batch[0]), 10))

    assert watch(tmp_path / "numbers", Numbers()).flows[0].outputs == 0
    assert watch(tmp_path / "classes", Smooth()).flows[0].outputs == 10


class Stateful(nn.Module):
    """Keeps a state of every kind that a module may keep outside of its buffers."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 3)
        self.torch_draws = torch.Generator().manual_seed(3)
        self.numpy_draws = np.random.default_rng(3)
        self.centre = torch.ones(6)
        self.codes = nn.Parameter(torch.ones(6), requires_grad=False)
        self.recent: deque[float] = deque([0.0], maxlen=3)
        self.nested = {"a": [0]}
        self.count = 0

    def forward(self, x: Tensor) -> Tensor:
        self.count += 1
        self.nested["a"][0] += 1
        self.recent.append(self.count)
        self.centre.mul_(0.9)
        with torch.no_grad():
            self.codes.mul_(1.1)
        noise = torch.randn(x.shape, generator=self.torch_draws) + self.numpy_draws.normal()
        out: Tensor = self.linear(x * self.centre * self.codes + noise)
        return out

    def state(self) -> list[Any]:
        kept = [*self.recent, self.nested["a"][0], self.count]
        kept += [self.centre.tolist(), self.codes.tolist(), self.torch_draws.get_state().tolist()]
        return [*kept, self.numpy_draws.bit_generator.state]


def test_a_repeated_pass_puts_back_every_kind_of_state() -> None:
    module = Stateful()
    x = torch.ones(2, 6)
    module(x)
    before = module.state()
    call = Call(module, ((x,), {}), exactly=True)
    first = call.output()
    assert module.state() == before
    assert torch.equal(call.output(), first)
    assert torch.equal(module(x), first)
    assert module.state() != before
