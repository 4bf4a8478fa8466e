"""Show progress: a bar with the gradients on a terminal, otherwise a log line now and then."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from rich.console import Console, RenderableType
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.text import Text

from gradflow.gradients.monitor import GradientMonitor
from gradflow.gradients.strip import strip
from gradflow.runs.config import Headline
from gradflow.training.steps import steps_done

log = logging.getLogger(__name__)

_QUIET_SECONDS = 30.0  # between two log lines; short jobs of a study log none


class _Bar(RichProgress):
    """A progress bar with a line of text below it."""

    below = ""

    def get_renderables(self) -> Iterable[RenderableType]:
        """Yield the bar, then the line, cut to the terminal's width."""
        yield from super().get_renderables()
        if self.below:
            yield Text(f"  {self.below}", no_wrap=True, overflow="ellipsis")


class Progress(Callback):
    """Show a bar over `steps` optimizer steps, named `title`, with the epoch and latest metrics.

    Below it are the latest gradient profile, first layer to last (see `strip.py`), and the verdict
    so far, if gradients are watched. Without a terminal, the same content is logged as one line
    every 30 s.
    """

    def __init__(self, steps: int, title: str, headline: Headline) -> None:
        self._steps = steps
        self._title = title
        self._headline = headline
        self._bar: _Bar | None = None
        self._logged_at = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the bar if there is a terminal."""
        console = Console(stderr=True)
        self._logged_at = time.monotonic()
        if not (trainer.is_global_zero and console.is_terminal):
            return
        self._bar = _Bar(
            TextColumn("{task.description}", markup=False),  # overrides may have brackets
            BarColumn(24),
            TextColumn("step {task.completed}/{task.total}  epoch {task.fields[epoch]}"),
            TextColumn("{task.fields[figures]}", markup=False),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self._task = self._bar.add_task(
            self._title,
            total=self._steps,
            completed=steps_done(trainer),
            epoch=1,
            figures="",
            gradients="",
        )
        self._bar.start()

    def on_train_batch_end(self, trainer: Trainer, *args: Any, **more: Any) -> None:
        """Advance the bar and update its metrics, or log a line if one is due."""
        if self._bar is None and time.monotonic() - self._logged_at < _QUIET_SECONDS:
            return
        figures = self._figures(trainer.callback_metrics)
        gradients = _gradients(trainer)
        if self._bar is None:
            self._logged_at = time.monotonic()
            if trainer.is_global_zero:
                where = f"step {steps_done(trainer)}/{self._steps}"
                parts = (self._title, where, figures, gradients)
                log.info("  ".join(part for part in parts if part))
            return
        self._bar.update(
            self._task,
            completed=steps_done(trainer),
            epoch=trainer.current_epoch + 1,
            figures=figures,
        )
        self._bar.below = gradients

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Close the bar."""
        self._close()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Close the bar before a traceback is printed."""
        self._close()

    def _figures(self, logged: Mapping[str, Any]) -> str:
        headline = self._headline
        forms = {"loss": ".3f", headline.metric: ".1%" if headline.percent else ".3g"}
        return "  ".join(
            f"{name} {float(logged[f'train/{name}']):{form}}"
            for name, form in forms.items()
            if f"train/{name}" in logged
        )

    def _close(self) -> None:
        bar, self._bar = self._bar, None
        if bar is not None:
            with suppress(OSError):  # the terminal is gone
                bar.stop()


def _gradients(trainer: Trainer) -> str:
    """Return the latest profile and verdict of the trainer's monitor, if it has one."""
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, GradientMonitor) and callback.flows and callback.verdict:
            return f"gradient {strip(callback.flows[-1].gradient.tolist())} {callback.verdict}"
    return ""
