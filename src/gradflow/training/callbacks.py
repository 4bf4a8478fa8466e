"""The callbacks that every run has, whatever its net, its data and its task are."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from lightning.pytorch import Callback
from lightning.pytorch.profilers import AdvancedProfiler, Profiler, SimpleProfiler

from gradflow.runs.config import RunConfig
from gradflow.training.checkpoints import LastCheckpoint, best_checkpoint
from gradflow.training.divergence import StopWhereDiverged
from gradflow.training.progress import Progress
from gradflow.training.seeding import SeedBatches
from gradflow.training.steps import WholeGroups
from gradflow.training.weights import ValidatedWeights


def profiler(name: Literal["simple", "advanced"] | None, folder: Path) -> Profiler | None:
    """Return Lightning's profiler, which leaves its table in `folder`; None for none."""
    if name is None:
        return None
    kind = SimpleProfiler if name == "simple" else AdvancedProfiler
    return kind(dirpath=folder, filename="profile")


def standard_callbacks(
    config: RunConfig, folder: Path, name: str, *, validates: bool, look_every: int
) -> list[Callback]:
    """Seeds, whole groups, an end to diverged runs, checkpoints in `folder`, and progress.

    `name` is what the progress line calls the run. Every `look_every` steps the training loss is
    looked at.
    """
    headline = config.comparison.headline
    best = best_checkpoint(folder, monitor=f"validation/{headline.metric}", mode=headline.direction)
    return [
        SeedBatches(config.seed),
        WholeGroups(),
        StopWhereDiverged(look_every),
        ValidatedWeights(),
        *([best] if validates else []),
        LastCheckpoint(folder, config.checkpoint),  # after `best`, whose score it saves
        Progress(config.steps, name, headline),
    ]
