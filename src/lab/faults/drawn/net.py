"""Build the net of a draw, with its initialization, and the LightningModule that trains it.

The module says nothing of itself that a stranger's would not say: it has no `chance_loss`, and its
loss contains the l2 penalty.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from lightning import LightningModule
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from lab.faults.drawn.draws import Draw

_CLASSES = 10
_ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
}
_OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "sgd": torch.optim.SGD,
    "momentum": lambda parameters, lr: torch.optim.SGD(parameters, lr=lr, momentum=0.9),
    "adam": torch.optim.Adam,
    "rmsprop": torch.optim.RMSprop,
    "adagrad": torch.optim.Adagrad,
}
_INITS: dict[str, Callable[[Tensor], Tensor]] = {
    "he_normal": lambda w: nn.init.kaiming_normal_(w, nonlinearity="relu"),
    "he_uniform": lambda w: nn.init.kaiming_uniform_(w, nonlinearity="relu"),
    "glorot_normal": nn.init.xavier_normal_,
    "glorot_uniform": nn.init.xavier_uniform_,
    "lecun_normal": lambda w: nn.init.kaiming_normal_(w, nonlinearity="linear"),
    "lecun_uniform": lambda w: nn.init.kaiming_uniform_(w, nonlinearity="linear"),
    "orthogonal": nn.init.orthogonal_,
    "normal_0.05": lambda w: nn.init.normal_(w, std=0.05),
    "uniform_0.05": lambda w: nn.init.uniform_(w, -0.05, 0.05),
    "truncated_0.05": lambda w: nn.init.trunc_normal_(w, std=0.05, a=-0.1, b=0.1),
    "normal_0.01": lambda w: nn.init.normal_(w, std=0.01),
    "normal_1": lambda w: nn.init.normal_(w, std=1.0),
}


class DrawnModule(LightningModule):
    """Train a net by cross-entropy plus l2 times the sum of its squared weights, as Keras does."""

    def __init__(self, draw: Draw) -> None:
        super().__init__()
        self.net = build_net(draw)
        self.last_loss = math.nan
        self._draw = draw

    def configure_optimizers(self) -> Optimizer:
        """Build the optimizer of all parameters."""
        return _OPTIMIZERS[self._draw.optimizer](self.parameters(), lr=self._draw.lr)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Return the loss of a batch."""
        images, labels = batch
        loss = F.cross_entropy(self.net(images), labels)
        if self._draw.l2:
            loss = loss + self._draw.l2 * sum(w.square().sum() for w in weights(self.net))
        self.last_loss = float(loss.detach())
        return loss

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip to norm 1, if the draw says so."""
        if self._draw.clip == "norm":
            nn.utils.clip_grad_norm_(self.parameters(), 1.0)


def build_net(draw: Draw) -> nn.Sequential:
    """Build the net with the weights that the draw's seed gives. Input: (B, 3, 32, 32)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(draw.seed)
        net = nn.Sequential(*_layers(draw))
        if draw.init != "torch_default":
            _initialize(net, _INITS[draw.init])
    return net


def weights(net: nn.Module) -> Iterator[Tensor]:
    """Yield the weights of the convolutions and linear layers."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            yield module.weight


def _layers(draw: Draw) -> Iterator[nn.Module]:
    fan, side, stride = 3, 16, 2
    for channels, kernel, pool in zip(draw.channels, draw.kernels, draw.pools, strict=True):
        yield nn.Conv2d(fan, channels, kernel, stride, padding=kernel // 2)
        yield from _activated(draw, nn.BatchNorm2d(channels))
        if pool != "none":
            yield nn.MaxPool2d(2) if pool == "max" else nn.AvgPool2d(2)
            side //= 2
        fan, stride = channels, 1
    if draw.head_pool != "none":
        yield nn.AdaptiveMaxPool2d(1) if draw.head_pool == "max" else nn.AdaptiveAvgPool2d(1)
        side = 1
    yield nn.Flatten()
    fan *= side**2
    for units in draw.hidden:
        yield nn.Linear(fan, units)
        yield from _activated(draw, nn.BatchNorm1d(units))
        fan = units
    if draw.dropout:
        yield nn.Dropout(draw.dropout)
    yield nn.Linear(fan, _CLASSES)


def _activated(draw: Draw, norm: nn.Module) -> Iterator[nn.Module]:
    if draw.norm == "before":
        yield norm
    yield _ACTIVATIONS[draw.activation]()
    if draw.norm == "after":
        yield norm


@torch.no_grad()
def _initialize(net: nn.Module, initialize: Callable[[Tensor], Tensor]) -> None:
    """Initialize weights and set biases to 0, as Keras does."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            initialize(module.weight)
            if module.bias is not None:
                module.bias.zero_()
