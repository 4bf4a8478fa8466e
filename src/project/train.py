"""`train(config, folder)`: one run, from its configuration to its record.

Hydra is not needed here: `train(compose(["model=resnet"]), Path("runs/first"))` in a notebook does
what scripts/train.py does.
"""

from __future__ import annotations

import logging
import signal
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities.exceptions import SIGTERMException

from gradflow.errors import ConfigError
from gradflow.runs import wandb_run
from gradflow.runs.log_again import log_again
from gradflow.runs.metrics import last_values
from gradflow.runs.metrics_file import MetricsFile
from gradflow.runs.settings import numbers
from gradflow.runs.status import CONFIG, FILE, Status, claimed, now
from gradflow.training.checkpoints import LAST, read_checkpoint
from gradflow.training.distributed import is_first_process, leave_process_group
from gradflow.training.evaluate import figures
from gradflow.training.memory import keep_freed_memory
from gradflow.training.process import as_found
from gradflow.training.quiet import quieten
from gradflow.training.weights import ValidatedWeights
from project.build import build_classifier, build_data, build_trainer
from project.config import Config
from project.data import ImageData
from project.tasks.classifier import Classifier

log = logging.getLogger(__name__)


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
    folder = Path(folder).resolve()
    quieten()
    with claimed(folder), as_found():
        before = _earlier(config, folder)
        if before is not None and before.state == "finished":
            log.info("%s: already finished", name)
            return before.metrics
        resume = before is not None and (folder / LAST).exists()
        _check(config, folder, resume=resume)
        mode = config.logger.mode
        if mode == "online" and not wandb_run.sign_in():
            mode = "offline"
        config.save(folder / CONFIG)
        status = Status("running", wandb_id=before.wandb_id if before else None)
        status.threads = config.threads or torch.get_num_threads()
        status.resumed = (before.resumed + 1) if before and resume else 0
        status.seconds = before.seconds if before and resume else 0.0
        status.write(folder)
        started = time.monotonic()
        run = None
        try:
            loggers: list[Any] = []
            if mode != "none":
                run = wandb_run.start_run(mode, config, folder, name, status)
                loggers.append(WandbLogger(experiment=run))
            fitted = fit(config, folder, loggers, resume=resume, title=name)
            status.steps, status.diverged_at, status.metrics = fitted
            status.state = "finished"
            return status.metrics
        except BaseException as error:
            stopped = isinstance(error, KeyboardInterrupt | SystemExit)
            status.state = "interrupted" if stopped else "failed"
            if isinstance(error, SIGTERMException):
                status.error = "SIGTERM"
                raise SystemExit(128 + signal.SIGTERM) from error
            if stopped:  # a SystemExit is what Lightning makes of a KeyboardInterrupt
                status.error = "Ctrl-C"
                raise KeyboardInterrupt from error
            status.error = f"{type(error).__name__}: {error}".splitlines()[0].removesuffix(": ")
            raise
        finally:
            status.seconds += time.monotonic() - started
            status.end = now()
            with ExitStack() as ends:  # the last of them first, and each, whatever the others raise
                ends.callback(leave_process_group)
                if run is not None:
                    failed = status.state != "finished"
                    ends.callback(wandb_run.finish_run, run, failed=failed)
                    ends.callback(wandb_run.attach_record, run, folder)
                ends.callback(status.write, folder)


def fit(
    config: Config, folder: Path, loggers: list[Any], *, resume: bool, title: str
) -> tuple[int, int | None, dict[str, float]]:
    """Train, validate and test; return the steps, the one of divergence, and the metrics."""
    quieten()
    keep_freed_memory()
    # Set even where it is torch's own choice: MKL would else use fewer threads where it sees fit.
    torch.set_num_threads(config.threads or torch.get_num_threads())
    L.seed_everything(config.seed, verbose=False)
    data = build_data(config)
    classifier = build_classifier(config, data.num_classes)
    trainer = build_trainer(config, folder, loggers, title, validates=data.validation > 0)
    checkpoint = folder / LAST if resume else None
    if is_first_process():  # rows that are about to be repeated; all, where nothing can be resumed
        step = 0 if checkpoint is None else read_checkpoint(checkpoint)["global_step"]
        MetricsFile(folder).drop_from(step)
        log_again(loggers, folder, step)
    trainer.fit(classifier, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    trainer.save_checkpoint(folder / LAST)
    _log_final_figures(config, trainer, classifier, data)
    return trainer.global_step, classifier.diverged_at, last_values(folder)


def _log_final_figures(
    config: Config, trainer: L.Trainer, classifier: Classifier, data: ImageData
) -> None:
    """Log figures of the weights that training ended with, as `evaluate` gives them again."""
    (validated,) = (c for c in trainer.callbacks if isinstance(c, ValidatedWeights))  # type: ignore[attr-defined]
    # In several processes each has validated its share; the mean over them differs by rounding.
    known = trainer.world_size == 1 and validated.are_those_of(classifier)
    step, epoch = trainer.global_step, trainer.current_epoch
    loggers, first = trainer.loggers, trainer.is_global_zero
    leave_process_group()
    if first:
        validation = data.validation > 0 and not known
        found = figures(config, classifier, data, validation=validation, test=config.test)
        for logger in loggers if found else ():
            logger.log_metrics(found | {"epoch": epoch}, step=step)


def _check(config: Config, folder: Path, *, resume: bool) -> None:
    """Build everything but the data once, so that what is wrong is said before anything is done."""
    data = build_data(config)
    build_classifier(config, data.num_classes)
    build_trainer(config, folder, [], "", validates=data.validation > 0)
    if resume:
        read_checkpoint(folder / LAST)


def _earlier(config: Config, folder: Path) -> Status | None:
    """Return the status of the run that the folder holds, if it is this run."""
    status = Status.read(folder)
    if status is None and (folder / FILE).exists():
        raise ConfigError(f"{folder / FILE}: unreadable; remove the folder or choose another")
    if not (folder / CONFIG).exists():
        if status is not None and status.state == "finished":
            raise ConfigError(f"{folder / CONFIG}: missing; remove the folder or choose another")
        return None
    held = numbers(Config.load(folder / CONFIG).model_dump())
    wanted = numbers(config.model_dump())
    for key, value in wanted.items():
        if held.get(key) != value:
            raise ConfigError(
                f"{folder}: holds a run with {key}={held.get(key)}, not {value}; "
                "choose another study.name or hydra.run.dir, or remove the folder"
            )
    return status
