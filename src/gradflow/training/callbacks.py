"""The callbacks that every run has, whatever its net, its data and its task are."""

from __future__ import annotations

from pathlib import Path

from lightning.pytorch import Callback

from gradflow.runs.config import RunConfig
from gradflow.training.checkpoints import checkpoint_callbacks
from gradflow.training.progress import Progress
from gradflow.training.seeding import SeedBatches
from gradflow.training.steps import WholeGroups
from gradflow.training.weights import ValidatedWeights


def standard_callbacks(
    config: RunConfig, folder: Path, name: str, *, validates: bool
) -> list[Callback]:
    """Seeds, whole groups, checkpoints in `folder` and a progress bar called `name`."""
    headline = config.comparison.headline
    return [
        SeedBatches(config.seed),
        WholeGroups(),
        ValidatedWeights(),
        *checkpoint_callbacks(
            folder,
            validates=validates,
            monitor=f"validation/{headline.metric}",
            mode=headline.direction,
        ),
        Progress(config.steps, name, headline),
    ]
