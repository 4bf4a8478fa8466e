"""The mean loss over all batches since the last record, summed on the loss's device.

The loss of one batch is too noisy to distinguish a net that has just begun to learn from one that
never will. The mean over the steps between records costs one addition per batch and does not wait
for the device. This file knows nothing of Lightning or of the record.
"""

from __future__ import annotations

import torch
from torch import Tensor


class MeanLoss:
    """Sum losses and count batches; `take` returns the mean and resets both."""

    def __init__(self) -> None:
        self._total: Tensor | float = 0.0
        self._batches = 0

    def add(self, loss: Tensor) -> None:
        """Add the loss () of one batch, in float32 at least: bfloat16 cannot hold the sum."""
        self._total = self._total + loss.to(torch.promote_types(loss.dtype, torch.float32))
        self._batches += 1

    def take(self) -> tuple[Tensor, int] | None:
        """Return the mean () and its number of batches; None if there was no batch.

        The mean is non-finite if any loss was.
        """
        total, batches = self._total, self._batches
        self._total, self._batches = 0.0, 0
        return (torch.as_tensor(total) / batches, batches) if batches else None

    def state_dict(self) -> dict[str, float]:
        """Return the state to save in a checkpoint; waits for the device."""
        return {"total": float(self._total), "batches": self._batches}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Restore the state from a checkpoint."""
        self._total, self._batches = state["total"], int(state["batches"])
