"""Random layers that draw the same numbers in a resumed run as in one that nobody interrupted.

Dropout and RReLU draw from torch's global generators. Those are seeded anew before every batch from
the run's seed, the number of the batch and the process, so no random state has to be saved.
"""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

# Odd, near 2^63 divided by the golden ratio: the seeds of two processes are never close.
_PER_RANK = 0x4F1BBCDCBFA53E0B


class SeedBatches(Callback):
    """Seed torch before each training batch, from `seed`, the batch's number and the process."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Seed the generators of the CPU and of the module's device."""
        seed = batch_seed(self._seed, trainer.fit_loop.total_batch_idx + 1, trainer.global_rank)
        # Not torch.manual_seed: where CUDA is built in but idle, it keeps a stack trace per call.
        torch.default_generator.manual_seed(seed)
        if pl_module.device.type != "cpu":
            torch.get_device_module(pl_module.device).manual_seed(seed)


def batch_seed(seed: int, batch: int, rank: int) -> int:
    """Return the seed of one batch of a run, counted over epochs, on one process: 0 to 2^63 - 1."""
    return (seed * 1_000_003 + batch + rank * _PER_RANK) % 2**63
