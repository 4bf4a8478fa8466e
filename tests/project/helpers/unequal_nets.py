"""A net whose logits turn into NaN in one process alone, at the last batch of a window."""

import os
from typing import Any

from torch import Tensor, nn


class NotFiniteOnRankOne(nn.Module):
    """A linear net; its fourth training batch on rank 1 gives NaN."""

    def __init__(self, *, num_classes: int, **layout: Any) -> None:
        super().__init__()
        self.head = nn.Linear(3 * 32 * 32, num_classes)
        self._batches = 0

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(images.flatten(1))
        self._batches += self.training
        if self._batches == 4 and os.environ.get("LOCAL_RANK") == "1":
            return logits * float("nan")
        return logits
