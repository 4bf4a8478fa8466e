"""Callbacks that a run's configuration may name: one ends training, the others exchange weights."""

import copy
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer


class EndAt(Callback):
    """End training after `step` steps."""

    def __init__(self, step: int) -> None:
        self._step = step

    def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
        if trainer.global_step == self._step:
            trainer.should_stop = True


class HalveAtEnd(Callback):
    """Replace the weights at the end of training, as stochastic weight averaging does."""

    @torch.no_grad()
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for parameter in pl_module.parameters():
            parameter.data.mul_(0.5)


class ValidateOthers(Callback):
    """Swap the weights during validation, and restore the trained ones."""

    @torch.no_grad()
    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._kept = copy.deepcopy(pl_module.state_dict())
        for parameter in pl_module.parameters():
            parameter.data.mul_(-1)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        pl_module.load_state_dict(self._kept)
