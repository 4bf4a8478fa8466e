"""End a run whose gradients are sick, so that a study spends its time on the others."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from gradflow.errors import ConfigError
from gradflow.gradients.monitor import GradientMonitor
from gradflow.training.steps import steps_done

_EVERY = 10  # steps between two looks; each is agreed on by all processes of a run


def stopped_by(trainer: Trainer) -> str | None:
    """Return the verdict for which `StopWhenSick` has ended this training; None if it has not."""
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, StopWhenSick) and callback.stopped_by is not None:
            return callback.stopped_by
    return None


class StopWhenSick(Callback):
    """Stop at the first verdict that is not healthy, from step `step` on, with enough confidence.

    `step` counts as in the gradient record: optimizer steps done before it. `confidence` is the
    verdict's own, 0 to 1. ConfigError without a GradientMonitor, whose verdict it asks.
    """

    def __init__(self, step: int = 20, confidence: float = 0.8) -> None:
        if step < 0:
            raise ValueError(f"step={step}: must be >= 0")
        if not 0 <= confidence <= 1:
            raise ValueError(f"confidence={confidence}: must be between 0 and 1")
        self._step, self._confidence = step, confidence
        self._asked = 0
        self.stopped_by: str | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look for the monitor."""
        if _monitor(trainer) is None:
            raise ConfigError("StopWhenSick: needs a GradientMonitor among the callbacks")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Look at the verdict if it is due."""
        since = steps_done(trainer) - self._step - 1
        if since < 0 or since % _EVERY or steps_done(trainer) == self._asked:
            return
        self._asked = steps_done(trainer)
        monitor = _monitor(trainer)
        verdict = monitor.verdict if monitor is not None else None
        sick = (
            verdict is not None
            and verdict.kind != "healthy"
            and verdict.confidence >= self._confidence
        )
        if trainer.strategy.reduce_boolean_decision(sick, all=False):
            self.stopped_by = verdict.kind if verdict is not None else "sick"
            trainer.should_stop = True


def _monitor(trainer: Trainer) -> GradientMonitor | None:
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, GradientMonitor):
            return callback
    return None
