"""LSUV: before the first step, scale each layer's weights to outputs of variance 1.

Mishkin & Matas 2016 (arXiv:1511.06422), algorithm 1. It needs data, so it is a callback.
"""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from gradflow.errors import ConfigError
from project.config import Config

_SCALED = nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear
REASON = "the theory needs independent weights, and LSUV scales them on the data"


class LSUV(L.Callback):
    """Scale the net on the first batch of a new training; a resumed one is left as it is."""

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Scale before the first batch. Every process gets the weights of the first.

        Raises:
            ConfigError: if a batch is not a pair that begins with the net's input, or if the net
                has no layer to scale.
        """
        if trainer.global_step or batch_idx:
            return
        inputs = batch[0] if isinstance(batch, list | tuple) and batch else None
        if not isinstance(inputs, Tensor):
            raise ConfigError("callbacks=lsuv: needs batches of (inputs, targets)")
        net = getattr(pl_module, "net", pl_module)
        if not any(isinstance(module, _SCALED) for module in net.modules()):
            raise ConfigError("callbacks=lsuv: needs a net with convolutions or linear layers")
        scale_layers(getattr(net, "_orig_mod", net), inputs)  # the net behind torch.compile
        for parameter in net.parameters():
            parameter.data.copy_(trainer.strategy.broadcast(parameter.data))


def is_chosen(config: Config) -> bool:
    """Return whether the callbacks of `config` include LSUV."""
    own = f"{LSUV.__module__}.{LSUV.__qualname__}"
    return any(node.get("_target_") == own for node in config.callbacks.values())


@torch.no_grad()
def scale_layers(net: nn.Module, inputs: Tensor) -> None:
    """Divide weights and bias of each convolution and linear layer by the std of its output.

    One pass does it: a layer's output is linear in its weights, so it is divided on the way, and
    the next layer sees the new one. The std is over the whole batch. A layer whose output is
    constant or not finite, or that is frozen, is left as it is; one that is used twice is scaled at
    its first use.
    Buffers, such as a norm's statistics, and random states stay as they were.
    """
    buffers = {name: buffer.clone() for name, buffer in net.named_buffers()}
    done: set[nn.Module] = set()

    def rescale(layer: nn.Module, _: Any, output: Tensor) -> Tensor | None:
        if layer in done or not all(p.requires_grad for p in layer.parameters(recurse=False)):
            return None
        done.add(layer)
        std = output.float().std()
        if not (torch.isfinite(std) and std > 0):
            return None
        for parameter in layer.parameters(recurse=False):
            parameter.div_(std)
        return output / std

    layers = [m for m in net.modules() if isinstance(m, _SCALED)]
    hooks = [layer.register_forward_hook(rescale) for layer in layers]
    try:
        with torch.random.fork_rng():
            net(inputs)
    finally:
        for hook in hooks:
            hook.remove()
    for name, buffer in net.named_buffers():
        buffer.copy_(buffers[name])
