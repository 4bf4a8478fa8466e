"""The template's project, whose `train` ends after the dry step."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from gradflow.training.dry_step import dry_step
from gradflow.training.run import open_run
from gradflow.training.steps import optimizer_count
from project import train as template
from project.build import build_data, build_task, build_trainer, few_steps
from project.config import Config


def build(config: Config, folder: Path, name: str) -> dict[str, float]:
    with open_run(config, folder, name):
        if config.dry_step:
            dry_step(template.PROJECT, few_steps(config), build_trainer, test=config.test)
        data = build_data(config)
        task = build_task(config, data)
        build_trainer(config, folder, name, validates=True, optimizers=optimizer_count(task))
    return {}


PROJECT = dataclasses.replace(template.PROJECT, train=build)
