"""Build a run's task and data again, with the weights of one of its checkpoints."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch import LightningDataModule, LightningModule, Trainer

from gradflow.errors import ConfigError
from gradflow.runs.config import RunConfig
from gradflow.runs.files import CHECKPOINTS, CONFIG
from gradflow.training.checkpoints import read_checkpoint
from gradflow.training.project import Project

Checkpoint = Literal["last", "best"]


def plain_trainer(config: RunConfig, batches: int | None = None) -> Trainer:
    """Build a trainer in one process, without callbacks and loggers, for at most `batches`."""
    return Trainer(
        accelerator=config.trainer.accelerator,
        devices=1,
        plugins=[LightningEnvironment()],  # one process, whatever has started this one
        precision=config.precision,
        default_root_dir=os.devnull,  # on Slurm, Lightning would load a hpc_ckpt_* from a folder
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        limit_val_batches=batches,
        limit_test_batches=batches,
    )


def trained(
    project: Project, folder: Path, which: Checkpoint = "last", *, trust: bool = False
) -> tuple[Any, LightningModule, LightningDataModule]:
    """Return the configuration, the task and the data of the run in `folder`.

    `last` means the weights at the run's end, `best` those with the best headline metric on the
    validation split. The data gets the state that it had saved. Only with `trust` is anything built
    that `gradflow.runs.foreign` refuses.

    Raises:
        ConfigError: if there is no such checkpoint, if it is damaged or does not fit the folder's
            configuration, or if that names something that may run code.
    """
    path = folder / CHECKPOINTS / f"{which}.ckpt"
    if not path.exists():
        raise ConfigError(f"{path}: there is no such checkpoint; is {folder} the folder of a run?")
    config = project.config.load(folder / CONFIG).without_weights()
    if not trust:
        project.refuse_foreign_code(config, folder)
    checkpoint = read_checkpoint(path)
    data = project.build_data(config)
    saved = checkpoint.get(type(data).__qualname__)  # Lightning's key for it
    if saved is not None:
        data.load_state_dict(saved)
    task = project.build_task(config, data)
    if config.precision == "64-true":
        task.double()  # the weights would else be rounded
    try:
        task.load_state_dict(checkpoint["state_dict"])
    except RuntimeError as error:
        first = " ".join(str(error).split())[:300]
        raise ConfigError(f"{path}: does not fit {folder / CONFIG}: {first}") from error
    return config, task, data
