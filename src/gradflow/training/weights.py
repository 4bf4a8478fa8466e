"""Which weights a figure belongs to, told by the weights themselves.

The number of the step does not tell: a callback may replace the weights when training ends, as
stochastic weight averaging does, or only while the net is validated, as a moving average does.
"""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn


class ValidatedWeights(Callback):
    """Keeps the digest of the weights with which the latest validation was made."""

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
        """Take the digest now: whatever exchanges weights for a validation has done so by then."""
        if batch_idx == 0:
            self._digest = weights_digest(pl_module)

    def are_those_of(self, module: nn.Module) -> bool:
        """Say whether `module` has the weights of the latest validation."""
        return self._digest == weights_digest(module)

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint holds."""
        return {"digest": self._digest}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        self._digest = state_dict["digest"]


def weights_digest(module: nn.Module) -> str:
    """Return a SHA-256 digest of all parameters and buffers, bit for bit; waits for the device."""
    digest = hashlib.sha256()
    for tensor in (*module.parameters(), *module.buffers()):
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()
