"""Watched trainings and nets that several tests of the monitor share."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hand_passes import largest, rms
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.plugins.precision import MixedPrecision
from nets import ConvNet
from tiny_run import TinyCNN, batches, rows
from torch import Tensor, nn


def by_layer(folder: Path, kind: str) -> dict[str, dict[str, Any]]:
    """Return the rows of step 0 by layer name within the net."""
    return {
        row["name"].removeprefix("net."): row for row in rows(folder, kind).iter_rows(named=True)
    }


GRADIENT = "pre_activation_gradient"


class Watched(TinyCNN):
    """Wrap any net in an ordinary LightningModule that validates during training."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def validation_step(self, batch: list[Tensor], _: int) -> None:
        self.net(7 * batch[0])


def convnet(activation: Callable[[], nn.Module] = nn.Tanh, **options: object) -> ConvNet:
    torch.manual_seed(0)
    settings = {"depth": 8, "width": 4, "norm": nn.BatchNorm2d} | options
    return ConvNet(activation=activation, **settings)  # type: ignore[arg-type]


def tiny_batch(index: int = 0) -> tuple[Tensor, Tensor]:
    images, labels = list(batches())[index]
    return images.double(), labels


def assert_layers_are(folder: Path, zs: dict[str, Tensor], labels: Tensor, rel: float) -> None:
    """Compare the rows of step 0 with a float64 pass by hand, and do its backward."""
    F.cross_entropy(list(zs.values())[-1], labels).backward()
    forward, backward = by_layer(folder, "pre_activation"), by_layer(folder, GRADIENT)
    assert list(forward) == list(backward) == list(zs)
    for index, (name, z) in enumerate(zs.items()):
        for row, x in ((forward[name], z), (backward[name], z.grad)):
            assert x is not None
            assert (row["index"], row["elements"]) == (index, z.numel())
            assert row["rms"] == pytest.approx(rms(x), rel=rel)
            assert row["max"] == pytest.approx(largest(x), rel=rel)


def fp16(exponent: int) -> MixedPrecision:
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**exponent)
    return MixedPrecision("16-mixed", "cpu", scaler=scaler)


class Break(Callback):
    """Set a weight to a non-finite value at the start of a step."""

    def __init__(self, parameter: str, step: int, value: float) -> None:
        self.parameter, self.step, self.value = parameter, step, value

    def on_train_batch_start(self, trainer: Trainer, module: LightningModule, *_: object) -> None:
        if trainer.global_step == self.step:
            with torch.no_grad():
                module.get_parameter(self.parameter).fill_(self.value)


class Randomized(TinyCNN):
    """Return a net with batch norm, dropout, random and learned slopes, and in-place modules."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            *(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.RReLU(inplace=True)),
            *(nn.Conv2d(4, 4, 3), nn.PReLU(4), nn.Dropout(0.1), nn.ReLU(inplace=True)),
            *(nn.Flatten(), nn.Linear(64, 10)),
        )


def everything(module: LightningModule) -> dict[str, Any]:
    optimizer = module.optimizers(use_pl_optimizer=False)
    assert isinstance(optimizer, torch.optim.Optimizer)
    momenta = [state["momentum_buffer"] for state in optimizer.state.values()]
    return {
        **module.state_dict(),
        **{f"momentum {i}": momentum for i, momentum in enumerate(momenta)},
        "torch": torch.get_rng_state(),
        "numpy": torch.from_numpy(np.array(np.random.get_state(legacy=True)[1], dtype=np.int64)),
        "python": torch.tensor(random.getstate()[1][:-1]),
    }


def hooks(module: nn.Module) -> int:
    return sum(len(m._forward_pre_hooks) + len(m._forward_hooks) for m in module.modules())
