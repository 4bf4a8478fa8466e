"""`train(config, folder)`: one run, from its configuration to its record.

Hydra is not needed here: `train(compose(["model=resnet"]), "runs/first")` in a notebook does what
scripts/train.py does.
"""

from __future__ import annotations

from pathlib import Path

from gradflow.training.dry_step import dry_step
from gradflow.training.evaluate import has_validation
from gradflow.training.one_batch import OneBatch
from gradflow.training.project import Project
from gradflow.training.ranks import is_first_process
from gradflow.training.run import open_run
from gradflow.training.steps import optimizer_count
from project.build import build_data, build_task, build_trainer, few_steps
from project.config import Config
from project.data import ImageData


def train(config: Config, folder: Path | str, name: str = "run") -> dict[str, float]:
    """Run `config` in `folder` and return its final metrics, by their names in metrics.csv.

    A folder whose run is finished is left as it is, and its metrics are returned; one whose run was
    cut off is resumed from its last checkpoint, or begun anew where it has none. `name` is what
    Weights & Biases and the progress line call the run.

    Raises:
        ConfigError: before anything is downloaded, if the configuration cannot be run, or if the
            folder holds a run of another configuration or a damaged record.
        RunBusyError: if another process is computing this run.
        DataError: if the data cannot be had.
    """
    with open_run(config, folder, name) as run:
        if run.is_finished:
            return run.metrics
        test = config.test and not config.overfit
        if config.dry_step and run.checkpoint is None and is_first_process():
            dry_step(PROJECT, few_steps(config), build_trainer, test=test)
        data = build_data(config)
        task = build_task(config if run.checkpoint is None else config.without_weights(), data)
        if config.overfit:
            data = OneBatch(data, config.steps * config.accumulate)
        validates = has_validation(data)
        trainer = build_trainer(
            config, run.folder, name, validates=validates, optimizers=optimizer_count(task)
        )
        if isinstance(data, ImageData):
            data.require_steps(trainer.world_size, config.accumulate)
        run.start(trainer)
        trainer.fit(task, datamodule=data, ckpt_path=run.checkpoint, weights_only=True)
        return run.finish(trainer, task, data, validation=validates, test=test)


_CONF = Path(__file__).parents[2] / "conf"
PROJECT = Project(Config, build_data, build_task, train, conf=_CONF)
