"""Make random layers draw the same numbers in a resumed run as in an uninterrupted one.

Dropout and RReLU draw from torch's global generators. These are seeded before every batch from the
run's seed, the batch index and the rank, so no random state has to be saved.
"""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

# Odd, near 2^63 divided by the golden ratio, so that no two ranks have close seeds.
_PER_RANK = 0x4F1BBCDCBFA53E0B


class SeedBatches(Callback):
    """Seed torch before each training batch, from `seed`, the batch index and the rank."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Seed the generators of the CPU and of the module's device."""
        seed = batch_seed(self._seed, trainer.fit_loop.total_batch_idx + 1, trainer.global_rank)
        # torch.manual_seed keeps a stack trace per call if CUDA is available but unused.
        torch.default_generator.manual_seed(seed)
        if pl_module.device.type != "cpu":
            torch.get_device_module(pl_module.device).manual_seed(seed)


def batch_seed(seed: int, batch: int, rank: int) -> int:
    """Return the seed, 0 to 2^63 - 1, of a batch (counted over epochs) on one rank."""
    return (seed * 1_000_003 + batch + rank * _PER_RANK) % 2**63
