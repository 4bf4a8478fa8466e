"""Say now and then, while a run trains or validates, how far it is."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from gradflow.training.steps import steps_done

_EVERY_SECONDS = 10.0


class Heartbeat(Callback):
    """Call `write` with the number of steps: every ten seconds, and at each checkpoint.

    A full disk does not end the training here: the run's record and checkpoints are at stake, not
    the time of day.
    """

    def __init__(self, write: Callable[[int], None]) -> None:
        self._write = write
        self._written_at = time.monotonic()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write if it is due."""
        self._beat(trainer)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Write if it is due."""
        self._beat(trainer)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Write."""
        self._beat(trainer, always=True)

    def _beat(self, trainer: Trainer, *, always: bool = False) -> None:
        if always or time.monotonic() - self._written_at >= _EVERY_SECONDS:
            self._written_at = time.monotonic()
            with suppress(OSError):
                self._write(steps_done(trainer))
