"""`python ddp_run.py FOLDER`: three steps in two processes, each with half of the images.

They are dealt out in turn, and the second process has the larger ones.
"""

import sys
from pathlib import Path

import torch
from lightning.pytorch import Trainer
from tiny_run import BATCH, Smooth
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from gradflow.gradients.monitor import GradientMonitor

PROCESSES = 2


def images() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    pixels = torch.randn(3 * PROCESSES * BATCH, 3, 8, 8, generator=generator)
    pixels[1::2] *= 10
    return pixels, torch.randint(0, 10, (len(pixels),), generator=generator)


class Halved(Smooth):
    def train_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        share = TensorDataset(*(x[self.global_rank :: PROCESSES] for x in images()))
        return DataLoader(share, batch_size=BATCH)


if __name__ == "__main__":
    Trainer(
        default_root_dir=Path(sys.argv[1]),
        accelerator="cpu",
        devices=PROCESSES,
        strategy="ddp",
        use_distributed_sampler=False,
        max_steps=3,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[GradientMonitor(1, on_error="raise")],
    ).fit(Halved())
