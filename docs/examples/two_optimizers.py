"""Two optimizers: a generator and a critic, in an ordinary LightningModule with manual steps."""

from collections.abc import Callable, Iterable

import lightning as L
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer


class Adversarial(L.LightningModule):
    """`net` learns to make points like those of the data, (B, 8); the critic tells them apart.

    What is measured is the distance between the means of made and of real points.
    """

    def __init__(
        self, net: nn.Module, optimizer: Callable[[Iterable[nn.Parameter]], Optimizer]
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.net = net
        self.critic = nn.Sequential(nn.Linear(8, 32), nn.LeakyReLU(0.2), nn.Linear(32, 1))
        self._optimizer = optimizer

    def configure_optimizers(self) -> list[Optimizer]:
        return [self._optimizer(part.parameters()) for part in (self.net, self.critic)]

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        real = batch[0]
        generator, critic = self.optimizers()
        made = self.net(torch.randn_like(real))
        scores = self.critic(torch.cat([real, made.detach()]))
        truth = torch.cat([torch.ones(len(real), 1), torch.zeros(len(made), 1)]).to(scores)
        told_apart = F.binary_cross_entropy_with_logits(scores, truth)
        critic.zero_grad()
        self.manual_backward(told_apart)
        critic.step()

        fooled = F.softplus(-self.critic(made)).mean()
        generator.zero_grad()
        self.manual_backward(fooled)
        generator.step()
        self.log_dict({"train/loss": fooled, "train/critic_loss": told_apart})
        return fooled.detach()

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self._measure(batch[0], "validation")

    def test_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self._measure(batch[0], "test")

    def _measure(self, real: Tensor, split: str) -> None:
        made = self.net(torch.randn_like(real))
        self.log(f"{split}/distance", (made.mean(0) - real.mean(0)).norm())
