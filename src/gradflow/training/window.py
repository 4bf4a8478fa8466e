"""The sums behind the training loss and accuracy that are logged once for several steps.

Kept on the device, so that only a logged step waits for it; and in an object of its own, since a
module looks at every attribute that is set on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass
class Window:
    """Sums over the batches since the last log: losses and hits () on the device, and counts."""

    loss: Tensor
    hits: Tensor
    images: int = 0
    batches: int = 0

    @classmethod
    def empty(cls, device: torch.device) -> Window:
        """Return sums over nothing."""
        return cls(torch.zeros((), device=device), torch.zeros((), device=device))

    def add(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Add one batch: its mean loss (), logits (B, classes) and labels (B,), all detached."""
        self.loss += loss
        self.hits += (logits.argmax(1) == labels).sum()
        self.images += len(labels)
        self.batches += 1

    def means(self) -> tuple[float, float]:
        """Return the mean loss over the batches and the share of images that were hit."""
        loss, hits = torch.stack([self.loss, self.hits]).tolist()
        return loss / self.batches, hits / self.images

    def state(self) -> dict[str, Any]:
        """Return what `Window(**state)` is made of again."""
        return dict(vars(self))

    def to(self, device: torch.device) -> Window:
        """Return the same sums on `device`."""
        return Window(self.loss.to(device), self.hits.to(device), self.images, self.batches)
