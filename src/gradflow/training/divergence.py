"""Stop training in all processes on a non-finite loss: the run diverged, it did not crash."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor


def diverged_at(trainer: Trainer) -> int | None:
    """Return the step at which divergence was detected; None if the run did not diverge."""
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, StopWhereDiverged):
            return callback.diverged_at
    return None


class StopWhereDiverged(Callback):
    """Stop at the first check that finds a NaN or Inf training loss since the previous check.

    It checks every `every` steps and at the end. The loss is what `training_step` returns, or its
    entry `loss`. `diverged_at` is the step of that check, None until then. A run that diverged
    stays stopped when it is resumed.
    """

    def __init__(self, every: int) -> None:
        self._every = every
        self._steps = 0
        self._sum: Tensor | None = None  # of 0 * loss: NaN as soon as one loss is NaN or Inf
        self.diverged_at: int | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop a resumed run that had diverged."""
        if self.diverged_at is not None:
            trainer.should_stop = True

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Add the batch's loss; check if due. The device is synchronized only by a check."""
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        if isinstance(loss, Tensor):
            loss = loss.detach().sum() * 0  # 0, or NaN
            self._sum = loss if self._sum is None else self._sum + loss
        if (batch_idx + 1) % trainer.accumulate_grad_batches == 0:
            self._steps += 1
            if self._steps % self._every == 0:
                self._check(trainer)
                if self.diverged_at is not None:
                    trainer.should_stop = True

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check the losses since the previous check."""
        if self._steps % self._every:
            self._check(trainer)

    def state_dict(self) -> dict[str, Any]:
        """Return the state for a checkpoint: the step of divergence, and the steps so far."""
        non_finite = None if self._sum is None else bool(torch.isnan(self._sum))
        return {"diverged_at": self.diverged_at, "steps": self._steps, "lost": non_finite}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state from a checkpoint."""
        self.diverged_at, self._steps = state_dict["diverged_at"], state_dict["steps"]
        self._sum = torch.tensor(float("nan")) if state_dict["lost"] else None

    def _check(self, trainer: Trainer) -> None:
        non_finite = self._sum is not None and bool(torch.isnan(self._sum))
        self._sum = None
        anywhere = trainer.strategy.reduce_boolean_decision(non_finite, all=False)
        if anywhere and self.diverged_at is None:
            self.diverged_at = self._steps
