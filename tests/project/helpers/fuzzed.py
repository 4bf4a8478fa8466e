"""The template's project, whose `train` takes two steps on one device."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from gradflow.training.dry_step import dry_step
from gradflow.training.run import open_run
from gradflow.training.steps import optimizer_count
from project import train as template
from project.build import build_data, build_task, build_trainer, few_steps
from project.config import Config


def train(config: Config, folder: Path, name: str) -> dict[str, float]:
    """Try all that is configured, as it is; then train for a moment."""
    with open_run(config, folder, name) as run:
        if run.is_finished:
            return run.metrics
        if config.dry_step:
            dry_step(template.PROJECT, few_steps(config), build_trainer, test=config.test)
        task = build_task(config, build_data(config))
        build_trainer(config, folder, name, validates=True, optimizers=optimizer_count(task))
    one = {"devices": 1, "num_nodes": 1, "strategy": "auto"}
    short = {"steps": min(config.steps, 2), "dry_step": False, "compile": False}
    short["trainer"] = config.trainer.model_copy(update=one)
    return template.train(config.model_copy(update=short), folder, name)


PROJECT = dataclasses.replace(template.PROJECT, train=train)
