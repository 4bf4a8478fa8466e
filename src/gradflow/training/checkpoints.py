"""Checkpoint files that are whole or absent, whatever kills the process that writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import ModelCheckpoint

from gradflow.errors import ConfigError
from gradflow.gradients.whole import written_whole
from gradflow.runs.files import CHECKPOINTS


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
        # The file's own error, unlike torch's, says that the disk is full.
        with written_whole(destination) as aside, aside.open("wb") as file:
            torch.save(checkpoint, file)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read what a run saved, onto the CPU. ConfigError if the file is damaged."""
    with path.open("rb") as file:
        try:
            checkpoint = torch.load(file, map_location="cpu", weights_only=True)
        except Exception:  # of many types, by where the damage is
            checkpoint = None
    if not (isinstance(checkpoint, dict) and {"global_step", "state_dict"} <= checkpoint.keys()):
        raise ConfigError(f"{path}: is damaged; remove {path.parent.parent} to train the run anew")
    return checkpoint


class RunCheckpoint(ModelCheckpoint):
    """A run's own: Lightning keeps its state apart from that of a user's ModelCheckpoint."""


def checkpoint_callbacks(
    folder: Path, *, validates: bool, monitor: str, mode: str
) -> list[RunCheckpoint]:
    """`last`, to resume from, and `best` by `monitor`, both after each validation.

    A run that does not validate has no `best`, and its `last` comes after each epoch. In both cases
    the rows of that step are in metrics.csv by then, so that a resumed run neither lacks nor
    repeats one.
    """
    common: dict[str, Any] = {"dirpath": str(folder / CHECKPOINTS), "enable_version_counter": False}
    last = RunCheckpoint(filename="last", save_on_train_epoch_end=not validates, **common)
    if not validates:
        return [last]
    best = RunCheckpoint(filename="best", monitor=monitor, mode=mode, **common)
    return [best, last]  # in this order, so that `last` knows how good the best is
