"""Nets that misbehave: in one process of a data-parallel run alone, or by taking their time."""

import os
import signal
import time
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.distributed import get_rank, is_initialized


class Linear(nn.Module):
    """A linear net, with something that happens in its fourth training batch on one rank."""

    def __init__(self, *, num_classes: int, rank: int = 1, **layout: Any) -> None:
        super().__init__()
        self.head = nn.Linear(3 * 32 * 32, num_classes)
        self._batches = 0
        self._rank = rank

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(images.flatten(1))
        self._batches += self.training
        if self._batches == 4 and is_initialized() and get_rank() == self._rank:
            return self.happen(logits)
        return logits

    def happen(self, logits: Tensor) -> Tensor:
        raise NotImplementedError


class NotFinite(Linear):
    """The logits turn into NaN."""

    def happen(self, logits: Tensor) -> Tensor:
        return logits * float("nan")


class Raises(Linear):
    """An error of the user's own code."""

    def happen(self, logits: Tensor) -> Tensor:
        raise RuntimeError("injected failure\nof two lines")


class Killed(Linear):
    """The kernel kills the process, as it does where memory runs out."""

    def happen(self, logits: Tensor) -> Tensor:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


class Slow(nn.Module):
    """A linear net whose batches take a quarter of a second, until there is a file `gate`."""

    def __init__(self, *, num_classes: int, gate: str, **layout: Any) -> None:
        super().__init__()
        self.head = nn.Linear(3 * 32 * 32, num_classes)
        self._gate = Path(gate)

    def forward(self, images: Tensor) -> Tensor:
        if self.training and not self._gate.exists():
            time.sleep(0.25)
        logits: Tensor = self.head(images.flatten(1))
        return logits
