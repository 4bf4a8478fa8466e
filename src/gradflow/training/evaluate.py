"""A net's figures on the validation and the test split, from its weights alone.

A run's final figures and those of `scripts/evaluate.py` are made here, by the same lines: in one
process, so that each image counts once, and without the run's callbacks, so that they are figures
of the weights that the checkpoint holds.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from lightning.pytorch import LightningDataModule, LightningModule, Trainer

from gradflow.errors import ConfigError
from gradflow.runs.config import RunConfig
from gradflow.runs.files import CHECKPOINTS, CONFIG
from gradflow.training.checkpoints import read_checkpoint
from gradflow.training.process import restored_process
from gradflow.training.project import Project


def has_validation(data: LightningDataModule) -> bool:
    """Whether there is a validation split; the data's `has_validation` decides, if there."""
    own = type(data).val_dataloader is not LightningDataModule.val_dataloader
    return bool(getattr(data, "has_validation", own))


def evaluate(
    project: Project, folder: Path, which: Literal["last", "best"] = "last"
) -> dict[str, float]:
    """Return what the task of a run logs on the validation and the test split.

    With `last`, the weights at the run's end, the figures equal what the run recorded; `best` are
    those with the best headline metric on the validation split. What is built is the project's
    affair; nothing is imported that the run's folder names as its project. ConfigError if the
    folder holds no such checkpoint, or a damaged one.
    """
    path = folder / CHECKPOINTS / f"{which}.ckpt"
    if not path.exists():
        raise ConfigError(f"{path}: there is no such checkpoint; is {folder} the folder of a run?")
    config = project.config.load(folder / CONFIG).without_weights()
    weights = read_checkpoint(path)["state_dict"]
    with restored_process():
        torch.set_num_threads(config.threads or torch.get_num_threads())
        data = project.build_data(config)
        task = project.build_task(config, data)
        task.load_state_dict(weights)
        return figures(config, task, data, validation=True, test=True)


def figures(
    config: RunConfig,
    module: LightningModule,
    data: LightningDataModule,
    *,
    validation: bool,
    test: bool,
) -> dict[str, float]:
    """Return what the module logs on those of the two splits that are asked for and there are."""
    trainer = Trainer(
        accelerator=config.trainer.accelerator,
        devices=1,
        precision=config.precision,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    found: dict[str, float] = {}
    if validation:
        for of_loader in trainer.validate(module, datamodule=data, verbose=False):
            found.update(of_loader)
    if test:
        for of_loader in trainer.test(module, datamodule=data, verbose=False):
            found.update(of_loader)
    return found
