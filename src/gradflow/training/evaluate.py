"""A finished run, evaluated again from its folder alone."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from lightning.pytorch import Trainer

from gradflow.config import Config, ConfigError
from gradflow.training.build import build_classifier, build_data
from gradflow.training.checkpoints import FOLDER, read_checkpoint
from gradflow.training.process import as_found
from gradflow.training.status import CONFIG


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
        return _figures(config, weights)


def _figures(config: Config, weights: dict[str, torch.Tensor]) -> dict[str, float]:
    torch.set_num_threads(config.threads or torch.get_num_threads())
    data = build_data(config)
    classifier = build_classifier(config, data.num_classes)
    classifier.load_state_dict(weights)
    trainer = Trainer(
        accelerator=config.trainer.accelerator,
        devices=1,
        precision=config.precision,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    batches = data.batches(data.load(), seed=config.seed, channels_last=config.channels_last)
    for split in batches:
        split.to(trainer.strategy.root_device)
    figures: dict[str, float] = {}
    if len(batches.validation):
        figures.update(trainer.validate(classifier, batches.validation, verbose=False)[0])
    figures.update(trainer.test(classifier, batches.test, verbose=False)[0])
    return figures
