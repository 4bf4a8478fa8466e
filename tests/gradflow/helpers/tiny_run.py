"""A real Lightning run in a second: a tiny CNN on random images. Also a program, to be killed.

`python tiny_run.py FOLDER KILL_AT_STEP` trains like `fit(FOLDER)` and kills itself with -9.
"""

import os
import signal
import sys
import warnings
from pathlib import Path
from typing import Any

import polars as pl
import torch
import torch.nn.functional as F
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from gradflow.gradients.monitor import GradientMonitor
from gradflow.gradients.record import read_gradients

BATCH, BATCHES = 8, 6  # per epoch
warnings.filterwarnings("ignore", module="lightning")


class TinyCNN(LightningModule):
    """Two convolutions with batch norm and dropout, one linear layer; SGD with momentum."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net: nn.Module = nn.Sequential(
            nn.Conv2d(3, 4, 3, bias=False),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Conv2d(4, 4, 3),
            nn.Dropout(0.1),
            nn.Flatten(),
            nn.Linear(64, 10),
        )

    def training_step(self, batch: list[Tensor], _: int) -> Tensor:
        images, labels = batch
        return F.cross_entropy(self.net(images), labels)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9)


class Smooth(TinyCNN):
    """No norm, no dropout: the gradient of a mean over batches is the mean of their gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(144, 10))


class BatchOfTheStep(TinyCNN):
    """Derive the batch from the step, since a plain DataLoader does not resume its position."""

    def __init__(self) -> None:
        super().__init__()
        self.batches = list(batches())

    def training_step(self, batch: list[Tensor], index: int) -> Tensor:
        images, labels = self.batches[self.global_step % BATCHES]
        return super().training_step([images, labels], index)


class SeedEachStep(Callback):
    """Seed dropout from the step alone, so that a resumed run draws the same numbers."""

    def on_train_batch_start(self, trainer: Trainer, *_: object) -> None:
        torch.manual_seed(trainer.global_step)


def batches() -> DataLoader[tuple[Tensor, ...]]:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(BATCH * BATCHES, 3, 8, 8, generator=generator)
    labels = torch.randint(0, 10, (BATCH * BATCHES,), generator=generator)
    return DataLoader(TensorDataset(images, labels), batch_size=BATCH)


def fit(
    folder: Path,
    module: LightningModule | None = None,
    every_n_steps: int | None = 2,
    resume: Path | None = None,
    callbacks: tuple[Callback, ...] = (),
    data: DataLoader[tuple[Tensor, ...]] | None = None,
    val: DataLoader[tuple[Tensor, ...]] | None = None,
    seeded: bool = True,
    **trainer: object,
) -> LightningModule:
    """Train for 12 steps (two epochs) by default; the monitor is off for None.

    Random layers draw in each step what they would draw in any run, but with `seeded=False`.
    """
    module = TinyCNN() if module is None else module
    monitor = (
        [GradientMonitor(every_n_steps, on_error="raise")] if every_n_steps is not None else []
    )
    options: dict[str, Any] = {"max_steps": 12, "logger": False, "enable_checkpointing": False}
    options |= trainer
    Trainer(
        default_root_dir=folder,
        accelerator="cpu",
        devices=1,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        callbacks=[*([SeedEachStep()] if seeded else []), *monitor, *callbacks],
        **options,
    ).fit(module, data or batches(), val, ckpt_path=resume, weights_only=True if resume else None)
    return module


def watch(
    folder: Path,
    module: LightningModule | None = None,
    every_n_steps: int | None = 1,
    histograms: tuple[str, ...] = (),
    **options: Any,
) -> GradientMonitor:
    """Train as `fit` does, for two steps by default, and return the monitor."""
    monitor = GradientMonitor(every_n_steps, histograms=histograms, on_error="raise")
    options = {"max_steps": 2} | options
    callbacks = (*options.pop("callbacks", ()), monitor)
    fit(folder, module, every_n_steps=None, callbacks=callbacks, **options)
    return monitor


def rows(folder: Path, kind: str, step: int = 0) -> pl.DataFrame:
    """Return the rows of one kind and step."""
    return read_gradients(folder).filter((pl.col("kind") == kind) & (pl.col("step") == step))


class KillAt(Callback):
    """Kill this process, as a power cut would."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer: Trainer, *_: object) -> None:
        if trainer.global_step == self.step:
            os.kill(os.getpid(), signal.SIGKILL)


def checkpoint_each_epoch(folder: Path) -> ModelCheckpoint:
    return ModelCheckpoint(dirpath=folder, save_last=True, every_n_epochs=1)


if __name__ == "__main__":
    run_folder = Path(sys.argv[1])
    kill = KillAt(int(sys.argv[2]))
    saver = checkpoint_each_epoch(run_folder / "checkpoints")
    fit(
        run_folder,
        BatchOfTheStep(),
        callbacks=(kill, saver),
        max_steps=18,
        enable_checkpointing=True,
    )
