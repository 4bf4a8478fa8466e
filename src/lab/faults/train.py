"""Train one net with the monitor and the other tools' inputs, and measure whether it learned.

Every suite trains and measures with these two functions. They know Lightning, but no suite.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from gradflow.gradients.monitor import GradientMonitor
from gradflow.training.process import keep_freed_memory, quieten
from gradflow.training.seeding import SeedBatches
from lab.faults.peers import PeerWatch, Step

LEARNED = 0.15  # accuracy: chance is 0.10, with a standard deviation of 0.007 on 2000 images
_EVERY = 10  # steps between two looks of the other tools
_IMAGES = 2000


def train(
    module: LightningModule,
    batches: Iterable[Any],
    folder: Path,
    steps: int,
    seed: int,
    monitor: bool = True,
    optimizers: int = 1,
) -> list[Step]:
    """Train `module` on the CPU in one thread, and return the other tools' inputs.

    The monitor writes its record to `folder`. With `monitor=False` the weights become the same,
    but nothing is measured or written, and the list is empty. `seed` seeds random layers.
    `batches` is no plain list, which Lightning takes for several loaders. `optimizers` is how many
    step in each batch.
    """
    quieten()
    keep_freed_memory()
    torch.set_num_threads(1)
    peers = PeerWatch(_EVERY)
    watching: list[Callback] = [GradientMonitor(on_error="raise"), peers]
    trainer = Trainer(
        max_steps=optimizers * steps,  # Lightning counts the steps of all optimizers
        max_epochs=-1,
        accelerator="cpu",
        devices=1,
        default_root_dir=folder,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        callbacks=[SeedBatches(seed), *(watching if monitor else [])],
    )
    trainer.fit(module, batches)
    return peers.steps


@torch.no_grad()
def accuracy(net: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> float:
    """Return the share of 2000 images that `net` classifies right.

    Norms are in training mode, since 150 steps are few for their running statistics. Dropout is
    off.
    """
    net.train()
    for module in net.modules():
        if isinstance(module, _DropoutNd):
            module.eval()
    hits = seen = 0
    for images, labels in batches:
        hits += int((net(images).argmax(1) == labels).sum())
        seen += len(labels)
        if seen >= _IMAGES:
            break
    return hits / seen
