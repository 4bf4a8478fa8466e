"""A net's figures on the validation and the test split, from its weights alone.

A run's final figures and those of `scripts/evaluate.py` are made here, by the same lines: in one
process, so that each image counts once, and without the run's callbacks, so that they are figures
of the weights that the checkpoint holds.
"""

from __future__ import annotations

from pathlib import Path

import torch
from lightning.pytorch import LightningDataModule, LightningModule

from gradflow.errors import ConfigError
from gradflow.runs.config import RunConfig
from gradflow.training.process import restored_process
from gradflow.training.project import Project
from gradflow.training.trained import Checkpoint, plain_trainer, trained


def has_validation(data: LightningDataModule) -> bool:
    """Whether there is a validation split; the data's `has_validation` decides, if there."""
    own = type(data).val_dataloader is not LightningDataModule.val_dataloader
    return bool(getattr(data, "has_validation", own))


def evaluate(
    project: Project, folder: Path, which: Checkpoint = "last", *, trust: bool = False
) -> dict[str, float]:
    """Return what the task of a run logs on the validation and the test split.

    With the `last` checkpoint, the figures equal what the run recorded. `trust` and ConfigError as
    in `trained`.
    """
    with restored_process():
        config, task, data = trained(project, folder, which, trust=trust)
        torch.set_num_threads(config.threads or torch.get_num_threads())
        return figures(config, task, data, validation=True, test=True)


def figures(
    config: RunConfig,
    module: LightningModule,
    data: LightningDataModule,
    *,
    validation: bool,
    test: bool,
    batches: int | None = None,
) -> dict[str, float]:
    """Return what the module logs on those of the two splits that are asked for and there are."""
    trainer = plain_trainer(config, batches)
    if test and type(data).test_dataloader is LightningDataModule.test_dataloader:
        raise ConfigError(f"test=true: {type(data).__name__} has no test split; test=false")
    found: dict[str, float] = {}
    if validation:
        for of_loader in trainer.validate(module, datamodule=data, verbose=False):
            found.update(of_loader)
    if test:
        for of_loader in trainer.test(module, datamodule=data, verbose=False):
            found.update(of_loader)
    return found
