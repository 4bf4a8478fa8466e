"""The line that shows how a run gets on, where a person watches; nothing where nobody does."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar


class Progress(Callback):
    """A bar over `steps` optimizer steps, named `title`, with the epoch and the latest figures."""

    def __init__(self, steps: int, title: str) -> None:
        self._steps = steps
        self._title = title
        self._bar: Bar | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the bar, on a terminal only."""
        console = Console(stderr=True)
        if not (trainer.is_global_zero and console.is_terminal):
            return
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(24),
            TextColumn("step {task.completed}/{task.total}  epoch {task.fields[epoch]}"),
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self._task = self._bar.add_task(
            self._title, total=self._steps, completed=trainer.global_step, epoch=1, figures=""
        )
        self._bar.start()

    def on_train_batch_end(self, trainer: Trainer, *args: Any, **more: Any) -> None:
        """Move the bar; the figures are those logged last."""
        if self._bar is None:
            return
        logged = trainer.logged_metrics
        figures = ""
        if "train/loss" in logged:
            figures = f"loss {logged['train/loss']:.3f}  accuracy {logged['train/accuracy']:.1%}"
        self._bar.update(
            self._task,
            completed=trainer.global_step,
            epoch=trainer.current_epoch + 1,
            figures=figures,
        )

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the bar away."""
        self._close()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Take the bar away before a traceback is printed."""
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
