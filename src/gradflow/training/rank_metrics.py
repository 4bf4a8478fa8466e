"""The means that each process of a data-parallel run has open, in a checkpoint.

A checkpoint holds the module of the first process. Weights are the same in all of them, but the
metrics of torchmetrics hold the sums of each process' own batches until they are computed.
"""

from __future__ import annotations

from typing import Any

import torch
from lightning import LightningModule, Trainer
from torch import Tensor
from torchmetrics import Metric

_KEY = "metrics_of_ranks"


def save_metrics(trainer: Trainer, module: LightningModule, checkpoint: dict[str, Any]) -> None:
    """Add the states of all processes to a checkpoint. Every process must call this."""
    if trainer.world_size > 1:
        mine = {name: _on_cpu(metric.metric_state) for name, metric in _metrics(module)}
        states: list[Any] = [None] * trainer.world_size
        torch.distributed.all_gather_object(states, mine)
        checkpoint[_KEY] = states


def load_metrics(trainer: Trainer, module: LightningModule, checkpoint: dict[str, Any]) -> None:
    """Restore this process' own states, if the checkpoint is of as many processes."""
    states = checkpoint.get(_KEY, [])
    if trainer.world_size > 1 and len(states) == trainer.world_size:
        for name, metric in _metrics(module):
            for key, value in states[trainer.global_rank].get(name, {}).items():
                setattr(metric, key, value)  # moved to the device with the module


def _metrics(module: LightningModule) -> list[tuple[str, Metric]]:
    return [(name, child) for name, child in module.named_modules() if isinstance(child, Metric)]


def _on_cpu(state: dict[str, Any]) -> dict[str, Any]:
    return {
        key: value.cpu() if isinstance(value, Tensor) else [item.cpu() for item in value]
        for key, value in state.items()
    }
