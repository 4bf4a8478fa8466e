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
from gradflow.runs.status import CONFIG
from gradflow.training.checkpoints import FOLDER, read_checkpoint
from gradflow.training.process import as_found
from project.build import build_classifier, build_data
from project.config import Config


def evaluate(folder: Path, which: Literal["last", "best"] = "last") -> dict[str, float]:
    """Return loss and accuracy on the validation and the test split, under their usual names.

    With `last`, the weights at the run's end, they equal what the run recorded; `best` are those
    with the highest validation accuracy. ConfigError if the folder holds no such checkpoint, or a
    damaged one.
    """
    path = folder / FOLDER / f"{which}.ckpt"
    if not path.exists():
        raise ConfigError(f"{path}: there is no such checkpoint; is {folder} the folder of a run?")
    config = Config.load(folder / CONFIG)
    weights = read_checkpoint(path)["state_dict"]
    with as_found():
        torch.set_num_threads(config.threads or torch.get_num_threads())
        data = build_data(config)
        classifier = build_classifier(config, data.num_classes)
        classifier.load_state_dict(weights)
        return figures(config, classifier, data, validation=data.validation > 0, test=True)


def figures(
    config: Config,
    module: LightningModule,
    data: LightningDataModule,
    *,
    validation: bool,
    test: bool,
) -> dict[str, float]:
    """Return what the module logs on the splits that are asked for, with its present weights."""
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
        found.update(trainer.validate(module, datamodule=data, verbose=False)[0])
    if test:
        found.update(trainer.test(module, datamodule=data, verbose=False)[0])
    return found
