"""A loss that is not finite ends training in every process, and is a result, not a crash."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor


def diverged_at(trainer: Trainer) -> int | None:
    """Return the step by which a trainer's run had diverged, if it had."""
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, StopWhereDiverged):
            return callback.diverged_at
    return None


class StopWhereDiverged(Callback):
    """Stop at the first look at which a training loss since the last look was NaN or Inf.

    It looks every `every` steps and at the end, at what `training_step` returns: a loss, or a
    dictionary with a `loss`. `diverged_at` is the step of that look, None until then. A resumed run
    that had diverged trains no further.
    """

    def __init__(self, every: int) -> None:
        self._every = every
        self._steps = 0
        self._sum: Tensor | None = None  # NaN or Inf as soon as one loss is
        self.diverged_at: int | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stay stopped where a resumed run had diverged."""
        if self.diverged_at is not None:
            trainer.should_stop = True

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Add the batch's loss; look, where a look is due. No process waits for a device before."""
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        if isinstance(loss, Tensor):
            loss = loss.detach().sum() * 0  # 0, or NaN
            self._sum = loss if self._sum is None else self._sum + loss
        if (batch_idx + 1) % trainer.accumulate_grad_batches == 0:
            self._steps += 1
            if self._steps % self._every == 0:
                self._look(trainer)
                if self.diverged_at is not None:
                    trainer.should_stop = True

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at the losses since the last look."""
        if self._steps % self._every:
            self._look(trainer)

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint holds: where the run diverged, and how far it has come."""
        lost = None if self._sum is None else bool(torch.isnan(self._sum))
        return {"diverged_at": self.diverged_at, "steps": self._steps, "lost": lost}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        self.diverged_at, self._steps = state_dict["diverged_at"], state_dict["steps"]
        self._sum = torch.tensor(float("nan")) if state_dict["lost"] else None

    def _look(self, trainer: Trainer) -> None:
        lost = self._sum is not None and bool(torch.isnan(self._sum))
        self._sum = None
        if trainer.strategy.reduce_boolean_decision(lost, all=False) and self.diverged_at is None:
            self.diverged_at = self._steps
