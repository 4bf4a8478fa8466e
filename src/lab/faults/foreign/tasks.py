"""A task of the foreign suite: data, a loss, and a score; its batches, and the score of a net."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import nn

from lab.faults.foreign.data import Batch, Draw
from lab.faults.foreign.losses import Loss

Score: TypeAlias = Callable[[nn.Module, Batch], float]
HELD_OUT = 1000  # examples of a score


@dataclass(frozen=True)
class Task:
    """Data, loss and score. The first tensor of a batch is the net's input."""

    draw: Draw
    loss: Loss
    score: Score
    batch_size: int = 64


@dataclass(frozen=True)
class Batches:
    """Batches of a task without end, the same ones each time.

    `blind` gives each target another example's input. `scale` multiplies the inputs.
    """

    task: Task
    seed: int
    blind: bool = False
    scale: float = 1.0

    def __iter__(self) -> Iterator[Batch]:
        """Draw batches."""
        generator = torch.Generator().manual_seed(self.seed)
        while True:
            first, *rest = self.task.draw(generator, self.task.batch_size, False)
            first = first.roll(1, 0) if self.blind else first
            yield (first if self.scale == 1 else self.scale * first, *rest)


@torch.no_grad()
def held_out_score(task: Task, net: nn.Module, seed: int, scale: float = 1.0) -> float:
    """Return the net's score on held-out data, with batch norms in training mode."""
    net.eval()
    for module in net.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.train()
    first, *rest = task.draw(torch.Generator().manual_seed(seed + 10**6), HELD_OUT, True)
    score = task.score(net, (first if scale == 1 else scale * first, *rest))
    return score if math.isfinite(score) else -math.inf
