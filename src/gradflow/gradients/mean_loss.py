"""The mean loss over all batches since the last record, summed on the loss's device.

The loss of one batch is too noisy to distinguish a net that has just begun to learn from one that
never will. The sums over the steps between records cost two additions per batch and do not wait for
the device. This file knows nothing of Lightning or of the record.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


class MeanLoss:
    """Sum losses, their squares and the number of batches, until `reset`."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Begin a new mean."""
        self._total: Tensor | float = 0.0
        self._squares: Tensor | float = 0.0
        self._batches = 0

    def add(self, loss: Tensor) -> None:
        """Add the loss () of one batch, in float64 where the device has it."""
        wide = loss.to(torch.float32 if loss.device.type == "mps" else torch.float64)
        self._total = self._total + wide
        self._squares = self._squares + wide * wide
        self._batches += 1

    def read(self) -> tuple[Tensor, int] | None:
        """Return mean and root mean square (2,), and the number of batches; None if that is 0.

        Both are non-finite if any loss was.
        """
        if not self._batches:
            return None
        sums = torch.stack([torch.as_tensor(self._total), torch.as_tensor(self._squares)])
        mean, mean_of_squares = (sums / self._batches).unbind()
        return torch.stack([mean, mean_of_squares.sqrt()]), self._batches

    def state_dict(self) -> dict[str, float]:
        """Return the state to save in a checkpoint; waits for the device."""
        sums = {"total": float(self._total), "squares": float(self._squares)}
        return sums | {"batches": self._batches}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Restore the state from a checkpoint; older ones have no squares."""
        self._total, self._batches = state["total"], int(state["batches"])
        self._squares = state.get("squares", math.nan)
