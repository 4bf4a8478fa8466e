"""A compiled net's layers are recorded as if it were not, and it does not notice.

Backends "eager" and "aot_eager" go through all of `torch.compile` but the generation of code.
"""

import copy
import math
import random
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
import torch.nn.functional as F
from hand_passes import convnet_pass
from lightning.pytorch import Callback, LightningModule, Trainer
from tiny_run import fit, rows, watch
from torch import Tensor, nn
from watched import (
    GRADIENT,
    Break,
    Randomized,
    Watched,
    assert_layers_are,
    convnet,
    everything,
    fp16,
    hooks,
    tiny_batch,
)

from gradflow.gradients import replay
from gradflow.gradients.compiled import uncompiled_name
from gradflow.gradients.monitor import HISTOGRAMS
from gradflow.gradients.record import first_non_finite, read_gradients

pytestmark = pytest.mark.slow

Compile = Callable[[nn.Module], nn.Module]
NUMBERS = ["norm", "rms", "max", "dead", "saturated"]


@pytest.fixture(autouse=True)
def nothing_compiled_before() -> None:
    torch._dynamo.reset()


def whole(net: nn.Module, backend: Any = "eager") -> nn.Module:
    compiled: nn.Module = torch.compile(net, backend=backend, fullgraph=True)  # type: ignore[assignment]
    return compiled


def in_place(net: nn.Module) -> nn.Module:
    net.compile(backend="aot_eager", fullgraph=True)
    return net


def by_stage(net: nn.Module) -> nn.Module:
    for index, stage in enumerate(net.stages):  # type: ignore[arg-type]
        net.stages[index] = whole(stage) if index else in_place(stage)  # type: ignore[index,operator]
    return net


def layers(folder: Path) -> pl.DataFrame:
    kinds = pl.col("kind").is_in(["pre_activation", GRADIENT, "activation"])
    return read_gradients(folder).filter(kinds)


def assert_same_record(one: Path, other: Path, rtol: float = 1e-4) -> None:
    left, right = layers(one), layers(other)
    whose = ["step", "kind", "name", "index", "elements", "units"]
    assert left.height > 0
    assert left.select(whose).equals(right.select(whose))
    for column in NUMBERS:
        np.testing.assert_allclose(right[column], left[column], rtol, atol=1e-12, err_msg=column)


def trained_twice(
    folder: Path, module: Callable[[], Watched | Randomized], compiled: Compile, **options: Any
) -> None:
    for name in ("eager", "compiled"):
        trained = module()
        if name == "compiled":
            trained.net = compiled(trained.net)
        if "scale" in options:
            options["plugins"] = [fp16(options["scale"])]
        given = {key: value for key, value in options.items() if key != "scale"}
        watch(folder / name, trained, **{"max_steps": 4, **given})


@pytest.mark.parametrize("skip", [True, False])
@pytest.mark.parametrize("compiled", [whole, in_place, by_stage])
def test_the_record_is_that_of_the_eager_run(tmp_path: Path, compiled: Compile, skip: bool) -> None:
    trained_twice(
        tmp_path, lambda: Watched(convnet(skip=skip)), compiled, histograms=["activation"]
    )
    assert_same_record(tmp_path / "eager", tmp_path / "compiled")


@pytest.mark.parametrize(
    "options",
    [
        {"accumulate_grad_batches": 3},
        {"precision": "bf16-mixed"},
        {"precision": "64-true"},
        {"scale": 10},
    ],
)
def test_so_it_is_with_accumulation_and_in_other_precisions(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    trained_twice(tmp_path, lambda: Watched(convnet()), whole, **options)
    assert_same_record(tmp_path / "eager", tmp_path / "compiled")


def test_random_layers_and_layers_in_place_draw_and_see_the_same_again(tmp_path: Path) -> None:
    trained_twice(tmp_path, Randomized, whole)
    assert_same_record(tmp_path / "eager", tmp_path / "compiled")


@pytest.mark.parametrize("compiled", [whole, in_place, by_stage])
def test_the_layers_are_those_of_a_pass_by_hand(tmp_path: Path, compiled: Compile) -> None:
    net = convnet()
    images, labels = tiny_batch()
    zs = convnet_pass(copy.deepcopy(net).double(), images)
    watch(tmp_path, Watched(compiled(net)), max_steps=1)
    assert_layers_are(tmp_path, zs, labels, rel=1e-4)
    assert rows(tmp_path, "pre_activation")["units"].to_list() == [4, 4, 4, 8, 8, 16, 16, 10]


@pytest.mark.slow
def test_what_inductor_computes_is_what_the_eager_run_does(tmp_path: Path) -> None:
    net = nn.Sequential(
        *(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10))
    )
    trained_twice(tmp_path, lambda: Watched(copy.deepcopy(net)), lambda net: whole(net, "inductor"))
    assert_same_record(tmp_path / "eager", tmp_path / "compiled", rtol=1e-3)


class Drawing(Randomized):
    """Draws between its pass and the optimizer's step."""

    def training_step(self, batch: list[Tensor], index: int) -> Tensor:
        loss = super().training_step(batch, index)
        return loss * (1 + torch.rand(()) + random.random() + np.random.random())


@pytest.mark.parametrize("compiled", [whole, in_place])
def test_a_compiled_run_ends_as_if_unwatched(tmp_path: Path, compiled: Compile) -> None:
    states = []
    for histograms in (None, HISTOGRAMS):
        torch._dynamo.reset()
        module = Drawing()
        module.net = compiled(module.net)
        folder, options = tmp_path / str(histograms), {"gradient_clip_val": 0.5, "seeded": False}
        random.seed(0)
        np.random.seed(0)
        if histograms is None:
            fit(folder, module, every_n_steps=None, **options)
        else:
            watch(folder, module, histograms=histograms, max_steps=12, **options)
        gradients = {f"gradient {n}": p.grad for n, p in module.named_parameters()}
        states.append(everything(module) | gradients)
    alone, watched = states
    assert alone.keys() == watched.keys()
    assert sum("running_var" in key for key in alone) == 1
    assert sum(key.startswith("gradient") for key in alone) == 8
    for key, value in alone.items():
        assert torch.equal(watched[key], value), key
    assert layers(tmp_path / str(HISTOGRAMS))["step"].n_unique() == 12


@pytest.mark.parametrize("compiled", [whole, in_place])
def test_it_is_compiled_once_and_passed_again_on_due_steps_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compiled: Compile
) -> None:
    compilations, passes, copies = [0], [], []

    def backend(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Any:
        compilations[0] += 1
        return graph.forward

    class Step(Callback):
        running = -1

        def on_train_batch_start(self, trainer: Trainer, *_: object) -> None:
            self.running = trainer.global_step

        def on_train_end(self, trainer: Trainer, module: LightningModule) -> None:
            trained.net(tiny_batch()[0].float())

    def counting(name: str, steps: list[int]) -> None:
        real = getattr(replay, name)

        def counted(*arguments: Any) -> Any:
            steps.append(step.running)
            return real(*arguments)

        monkeypatch.setattr(replay, name, counted)

    step = Step()
    counting("functional_call", passes)
    counting("_copy_as_leaf", copies)
    trained = Randomized()
    if compiled is in_place:
        trained.net.compile(backend=backend, fullgraph=True)
    else:
        trained.net = torch.compile(trained.net, backend=backend, fullgraph=True)  # type: ignore[assignment]
    in_front = trained.net._compiled_call_impl
    watch(tmp_path, trained, every_n_steps=5, callbacks=(step,), max_steps=12)
    assert passes == copies == [0, 5, 10, 11]
    assert compilations == [1]
    assert hooks(trained) == 0
    assert trained.net._compiled_call_impl is in_front


@pytest.mark.parametrize("every_n_steps", [1, 100])
@pytest.mark.parametrize("compiled", [whole, by_stage])
@pytest.mark.parametrize(
    ("parameter", "layer"),
    [
        ("net.head.weight", "net.head"),
        ("net.stages.1.0.conv2.weight", "net.stages.1.0.activation2"),
    ],
)
def test_the_first_step_and_layer_that_are_not_finite_are_named(
    tmp_path: Path, compiled: Compile, every_n_steps: int, parameter: str, layer: str
) -> None:
    module = Watched(compiled(convnet()))
    names = {uncompiled_name(name): name for name, _ in module.named_parameters()}
    broken = Break(names[parameter], 3, math.nan)
    watch(tmp_path, module, every_n_steps=every_n_steps, callbacks=(broken,), max_steps=5)
    assert first_non_finite(read_gradients(tmp_path)) == (3, layer)


def test_a_module_that_lightning_compiled_is_recorded_by_its_parameters(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(144, 10))
    images, labels = tiny_batch()
    twin = copy.deepcopy(net).double()
    F.cross_entropy(twin(images), labels).backward()
    module = torch.compile(Watched(net), backend="eager")
    monitor = watch(tmp_path, module, max_steps=3)  # type: ignore[arg-type]
    gradient = rows(tmp_path, "gradient")
    assert gradient["name"].to_list() == [f"net.{n}" for n, _ in twin.named_parameters()]
    wanted = [p.grad.norm().item() for p in twin.parameters() if p.grad is not None]
    np.testing.assert_allclose(gradient["norm"], wanted, rtol=1e-5)
    assert [flow.step for flow in monitor.flows] == [0, 1, 2]
    assert all(not flow.layers for flow in monitor.flows)


def test_a_lightning_module_compiled_in_place_is_watched_where_it_is_not_compiled(
    tmp_path: Path,
) -> None:
    module = Watched(convnet())
    module.compile(backend="eager")  # training_step calls the net past it
    monitor = watch(tmp_path, module, max_steps=1)
    assert len(monitor.flows[0].layers) == 8


def test_where_memory_does_not_suffice_for_a_second_pass_training_goes_on(tmp_path: Path) -> None:
    class Large(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Sequential(nn.Flatten(), nn.Linear(192, 10), nn.ReLU())

        def forward(self, x: Tensor) -> Tensor:
            h: Tensor = self.inner(x)
            if not torch.compiler.is_compiling():
                raise torch.OutOfMemoryError
            return h

    net = nn.Sequential(whole(Large()), nn.Tanh(), nn.Linear(10, 10))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        monitor = watch(tmp_path, Watched(net), max_steps=3)
    messages = [str(w.message) for w in caught if "compiled layers" in str(w.message)]
    assert messages == ["no memory to pass compiled layers again: not measured"]
    assert monitor.flows[-1].layers == ["net.1", "net.2"]
    assert hooks(net) == 0
