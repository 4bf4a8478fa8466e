"""Identify the weights that a validation result belongs to, by a digest of the weights.

The step number is not enough. A callback may replace the weights at the end of training, as
stochastic weight averaging does, or only during validation, as a moving average does.
"""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn


class ValidatedWeights(Callback):
    """Keep the digest of the weights that the latest validation used."""

    def __init__(self) -> None:
        self._digest: str | None = None

    def on_validation_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Compute the digest now: callbacks that swap weights for validation have done so."""
        if batch_idx == 0:
            self._digest = weights_digest(pl_module)

    def are_those_of(self, module: nn.Module) -> bool:
        """Return whether `module` has the weights of the latest validation."""
        return self._digest == weights_digest(module)

    def state_dict(self) -> dict[str, Any]:
        """Return the state for a checkpoint."""
        return {"digest": self._digest}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state from a checkpoint."""
        self._digest = state_dict["digest"]


def weights_digest(module: nn.Module) -> str:
    """Return a SHA-256 digest of all parameters and buffers, bit for bit; waits for the device."""
    digest = hashlib.sha256()
    for tensor in (*module.parameters(), *module.buffers()):
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()
