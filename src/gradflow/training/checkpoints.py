"""Checkpoint files that are whole or absent, whatever kills the process that writes them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import ModelCheckpoint

from gradflow.config import Config

FOLDER = "checkpoints"
LAST = f"{FOLDER}/last.ckpt"
BEST = f"{FOLDER}/best.ckpt"


class AtomicCheckpointIO(TorchCheckpointIO):
    """Write beside the destination, then rename.

    Lightning's own writer goes through the system's temporary folder; where that is another file
    system, its last move is a copy, and a process killed within it leaves a broken checkpoint.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Save as torch.save does."""
        destination = Path(path)
        destination.parent.mkdir(parents=True, exist_ok=True)
        aside = destination.with_name(f".{destination.name}.{os.getpid()}")
        torch.save(checkpoint, aside)
        aside.replace(destination)


def checkpoint_callbacks(config: Config, folder: Path) -> list[ModelCheckpoint]:
    """`last`, to resume from, and `best` by validation accuracy, both after each validation."""
    for orphan in (folder / FOLDER).glob(".*.ckpt.*"):
        orphan.unlink()  # left by a killed process; this one holds the run's lock
    common: dict[str, Any] = {"dirpath": str(folder / FOLDER), "enable_version_counter": False}
    return [
        ModelCheckpoint(
            filename="last", every_n_train_steps=config.validate_every, save_top_k=1, **common
        ),
        ModelCheckpoint(
            filename="best", monitor="validation/accuracy", mode="max", save_top_k=1, **common
        ),
    ]
