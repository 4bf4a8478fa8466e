"""A project as small as one can be: a net of two layers that learns made-up numbers.

Its data and its task are ordinary Lightning modules. With `small_conf/` and `small_train.py` it is
all that the library needs of a project, so that the life of a run and of a study is tested without
the template.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import lightning as L
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from gradflow.launch.compose import compose
from gradflow.launch.instantiate import instantiate
from gradflow.runs.config import Node, Positive, PositiveFloat, RunConfig
from gradflow.runs.metrics_file import MetricsFile
from gradflow.training.callbacks import standard_callbacks
from gradflow.training.checkpoints import AtomicCheckpointIO
from gradflow.training.project import Project
from gradflow.training.run import open_run

CONF = Path(__file__).with_name("small_conf")
FEATURES, BATCH = 6, 8


class SmallConfig(RunConfig):
    """The configuration that small_conf/train.yaml composes to."""

    AXES: ClassVar[tuple[str, ...]] = ("activation", "trainer", "logger", "callbacks")
    SEVERAL: ClassVar[tuple[str, ...]] = ("callbacks",)

    lr: PositiveFloat
    batches: Positive
    validate_every: Positive
    validation: bool
    test: bool
    activation: Node
    monitor: Node
    callbacks: dict[str, Node]


class Batches:
    """Shuffle in every epoch, and resume after the last batch that was drawn."""

    def __init__(self, points: Tensor, seed: int) -> None:
        self._points, self._seed, self._drawn = points, seed, 0

    def __len__(self) -> int:
        return len(self._points) // BATCH

    def __iter__(self) -> Iterator[Tensor]:
        epoch, first = divmod(self._drawn, len(self))
        generator = torch.Generator().manual_seed(1000 * self._seed + epoch)
        order = torch.randperm(len(self._points), generator=generator)
        for index in range(first, len(self)):
            self._drawn += 1
            yield self._points[order[index * BATCH : (index + 1) * BATCH]]

    def state_dict(self) -> dict[str, int]:
        return {"drawn": self._drawn}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self._drawn = state["drawn"]


class Points(L.LightningDataModule):
    """Rows of FEATURES normal numbers, followed by their target."""

    def __init__(self, config: SmallConfig) -> None:
        super().__init__()
        self._config = config

    def _points(self, count: int, seed: int) -> Tensor:
        x = torch.randn(count, FEATURES, generator=torch.Generator().manual_seed(seed))
        return torch.cat([x, x.square().sum(1, keepdim=True).sqrt()], dim=1)

    def train_dataloader(self) -> Batches:
        return Batches(self._points(self._config.batches * BATCH, 1), self._config.seed)

    def val_dataloader(self) -> DataLoader[Tensor] | list[Tensor]:
        if not self._config.validation:
            return []
        return DataLoader(self._points(40, 2), batch_size=BATCH)  # type: ignore[arg-type]

    def test_dataloader(self) -> DataLoader[Tensor]:
        return DataLoader(self._points(32, 3), batch_size=BATCH)  # type: ignore[arg-type]


class Fit(L.LightningModule):
    """Regression with mean squared error as the loss and mean distance as the metric."""

    def __init__(self, net: nn.Module, lr: float) -> None:
        super().__init__()
        self.net, self.lr = net, lr

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=self.lr, momentum=0.9)

    def training_step(self, batch: Tensor, _: int) -> Tensor:
        loss = (self.net(batch[:, :FEATURES]) - batch[:, FEATURES:]).square().mean()
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch: Tensor, _: int) -> None:
        self._measure("validation", batch)

    def test_step(self, batch: Tensor, batch_idx: int) -> None:
        self._measure("test", batch)

    def _measure(self, split: str, batch: Tensor) -> None:
        error = self.net(batch[:, :FEATURES]) - batch[:, FEATURES:]
        self.log(f"{split}/loss", error.square().mean(), batch_size=len(batch))
        self.log(f"{split}/distance", error.abs().mean(), batch_size=len(batch))


def build_task(config: SmallConfig, data: Points) -> Fit:
    """Build the net's module."""
    activation = instantiate(config.activation, key="activation")
    net = nn.Sequential(nn.Linear(FEATURES, 8), activation, nn.Linear(8, 1))
    return Fit(net, config.lr)


def build_trainer(
    config: SmallConfig, folder: Path, name: str, *, validates: bool, optimizers: int = 1
) -> L.Trainer:
    """Build the trainer of a run in `folder`."""
    return L.Trainer(
        accelerator=config.trainer.accelerator,
        devices=config.trainer.devices,
        max_steps=config.steps,
        val_check_interval=config.validate_every if validates else None,
        check_val_every_n_epoch=None,
        log_every_n_steps=1,
        num_sanity_val_steps=0,
        default_root_dir=folder,
        logger=MetricsFile(folder),
        callbacks=[
            *(instantiate(node, key=f"callbacks.{key}") for key, node in config.callbacks.items()),
            instantiate(config.monitor, key="monitor"),
            *standard_callbacks(config, folder, name, validates=validates, look_every=1),
        ],
        plugins=[AtomicCheckpointIO()],
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def train(config: SmallConfig, folder: Path, name: str = "run") -> dict[str, float]:
    """Run `config` in `folder`."""
    with open_run(config, folder, name) as run:
        if run.is_finished:
            return run.metrics
        data = Points(config)
        task = build_task(config, data)
        trainer = build_trainer(config, run.folder, name, validates=config.validation)
        run.start(trainer)
        trainer.fit(task, datamodule=data, ckpt_path=run.checkpoint, weights_only=True)
        return run.finish(trainer, task, data, validation=config.validation, test=config.test)


PROJECT = Project(SmallConfig, Points, build_task, train, conf=CONF)


def fit(folder: Path, *overrides: str) -> dict[str, float]:
    """Compose from small_conf/ and train in this process."""
    return train(compose(overrides, CONF), folder)
