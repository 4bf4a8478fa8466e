"""The LightningModules of the foreign suite. None tells the monitor its chance loss."""

from __future__ import annotations

from typing import Any, cast

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer

from lab.faults.foreign.base import Base
from lab.faults.foreign.data import Batch
from lab.faults.foreign.image_nets import Generative


class Stranger(LightningModule):
    """An ordinary module: one net, one loss, one optimizer."""

    def __init__(self, net: nn.Module, base: Base, lr: float) -> None:
        super().__init__()
        self.net, self.base, self.lr = net, base, lr

    def training_step(self, batch: Batch) -> Tensor:
        """Return the loss of a batch."""
        return self.base.task.loss(self.net, batch)

    def configure_optimizers(self) -> Any:
        """Return the base's optimizer, with warm-up if the base has one."""
        optimizer = self.base.optimize([p for p in self.parameters() if p.requires_grad], self.lr)
        if not self.base.warm_up:
            return optimizer
        steps = self.base.warm_up
        rate = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda i: min((i + 1) / steps, 1.0))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": rate, "interval": "step"}}


class Adversaries(LightningModule):
    """A GAN: critic and generator take turns, each with its own optimizer."""

    def __init__(self, net: Generative, base: Base, lr: float) -> None:
        super().__init__()
        self.net, self.base, self.lr = net, base, lr
        self.automatic_optimization = False

    def training_step(self, batch: Batch) -> None:
        """Train the critic, then the generator, with the non-saturating loss."""
        (real,) = batch
        for_critic, for_generator = cast(list[Optimizer], self.optimizers())
        softplus = nn.functional.softplus
        made = self.net(len(real))
        critic = softplus(-self.net.critic(real)) + softplus(self.net.critic(made.detach()))
        for_critic.zero_grad()
        self.manual_backward(critic.mean())
        for_critic.step()
        generator = softplus(-self.net.critic(made)).mean()
        for_generator.zero_grad()
        self.manual_backward(generator)
        for_generator.step()

    def configure_optimizers(self) -> list[Optimizer]:
        """Return the critic's optimizer and the generator's."""
        return [
            self.base.optimize(list(net.parameters()), self.lr)
            for net in (self.net.critic, self.net.generator)
        ]
