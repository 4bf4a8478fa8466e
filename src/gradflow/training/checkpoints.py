"""Write checkpoints atomically, so that a killed process never leaves a broken file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import ModelCheckpoint

from gradflow.errors import ConfigError
from gradflow.gradients.atomic import atomic_write
from gradflow.runs.files import CHECKPOINTS


class AtomicCheckpointIO(TorchCheckpointIO):
    """Write next to the destination, then rename.

    Lightning writes to the system's temporary folder first. If that is on another file system, its
    final move is a copy, and a process killed during the copy leaves a broken checkpoint.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Save with torch.save."""
        destination = Path(path)
        destination.parent.mkdir(parents=True, exist_ok=True)
        # Unlike torch's own error, that of an open file says that the disk is full.
        with atomic_write(destination) as temporary, temporary.open("wb") as file:
            torch.save(checkpoint, file)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Load a checkpoint onto the CPU. ConfigError if the file is damaged."""
    with path.open("rb") as file:
        try:
            checkpoint = torch.load(file, map_location="cpu", weights_only=True)
        except Exception:  # its type depends on where the damage is
            checkpoint = None
    if not (isinstance(checkpoint, dict) and {"global_step", "state_dict"} <= checkpoint.keys()):
        raise ConfigError(f"{path}: is damaged; remove {path.parent.parent} to train the run again")
    return checkpoint


class RunCheckpoint(ModelCheckpoint):
    """The run's own callback, whose state Lightning keeps apart from a user's ModelCheckpoint."""


def checkpoint_callbacks(
    folder: Path, *, validates: bool, monitor: str, mode: str
) -> list[RunCheckpoint]:
    """Return callbacks that save `last`, to resume from, and `best` by `monitor`.

    Both save after each validation. A run without validation has no `best` and saves `last` after
    each epoch. By then metrics.csv holds the rows of that step, so a resumed run writes every row
    exactly once.
    """
    common: dict[str, Any] = {"dirpath": str(folder / CHECKPOINTS), "enable_version_counter": False}
    last = RunCheckpoint(filename="last", save_on_train_epoch_end=not validates, **common)
    if not validates:
        return [last]
    best = RunCheckpoint(filename="best", monitor=monitor, mode=mode, **common)
    return [best, last]  # in this order, so that `last` stores the best score
