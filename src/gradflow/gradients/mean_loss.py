"""The mean loss over all batches since the last record, added up where the loss is.

A record's own loss is that of one batch, and too noisy to tell a net that has just begun to learn
from one that never will. The mean over the steps in between costs one addition a batch and no wait
for the device. It knows nothing of Lightning or of the record.
"""

from __future__ import annotations

import torch
from torch import Tensor


class MeanLoss:
    """A sum and a count; `take` gives their quotient and starts anew."""

    def __init__(self) -> None:
        self._total: Tensor | float = 0.0
        self._batches = 0

    def add(self, loss: Tensor) -> None:
        """Add the loss () of one batch, in float32 at least: bfloat16 cannot hold the sum."""
        self._total = self._total + loss.to(torch.promote_types(loss.dtype, torch.float32))
        self._batches += 1

    def take(self) -> tuple[Tensor, int] | None:
        """Return the mean () and how many batches it is over; None if there was none.

        A loss that was not finite makes the mean so.
        """
        total, batches = self._total, self._batches
        self._total, self._batches = 0.0, 0
        return (torch.as_tensor(total) / batches, batches) if batches else None

    def state_dict(self) -> dict[str, float]:
        """Return what a checkpoint is to hold; waits for the device."""
        return {"total": float(self._total), "batches": self._batches}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Go on from there."""
        self._total, self._batches = state["total"], int(state["batches"])
