"""Train one short run in this thread, as the template sets it up, without checkpoints."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import torch
from lightning.pytorch.callbacks import Checkpoint

from gradflow.gradients.monitor import GradientMonitor
from gradflow.training.progress import Progress
from lab.benchmarks.clock import synchronize
from lab.benchmarks.gpu.scale import Scale
from project.build import build_data, build_task, build_trainer


class Trained(NamedTuple):
    """What a run leaves behind."""

    task: L.LightningModule
    monitor: GradientMonitor | None


def train(
    scale: Scale,
    *overrides: str,
    compile_mode: str | None = None,
    callbacks: tuple[L.Callback, ...] = (),
) -> Trained:
    """Train `scale.steps` steps; `callbacks` come before the template's own.

    An error of the monitor is raised. `compile_mode` is a mode of torch.compile for the net.
    """
    config = scale.config(*overrides)
    torch.manual_seed(0)
    data = build_data(config)
    task: Any = build_task(config, data)
    if compile_mode is not None:
        # Another backend than inductor has no modes.
        mode = compile_mode if scale.backend == "inductor" else None
        task.net = torch.compile(task.net, mode=mode, backend=scale.backend)
    with tempfile.TemporaryDirectory() as folder:
        trainer = build_trainer(config, Path(folder), "", validates=False)
        own = [c for c in trainer.callbacks if not isinstance(c, Checkpoint | Progress)]  # type: ignore[attr-defined]
        monitor = next((c for c in own if isinstance(c, GradientMonitor)), None)
        if monitor is not None:
            monitor.on_error = "raise"
        trainer.callbacks = [*callbacks, *own]  # type: ignore[attr-defined]
        trainer.fit(task, data.train_dataloader().to(scale.device))
    return Trained(task, monitor)


class StepClock(L.Callback):
    """Note the wall time at the end of each step, when the device has done it."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
        """Wait for the device, and note the time."""
        synchronize(trainer.strategy.root_device)
        self.seconds.append(time.perf_counter())
