"""Manage a run around its training: lock, resume, status, final metrics and W&B.

    with open_run(config, folder, name) as run:
        if run.is_finished:
            return run.metrics
        …                                  # build the task, the data and a trainer
        run.start(trainer)                 # from here on the folder says "running"
        trainer.fit(task, data, ckpt_path=run.checkpoint, weights_only=True)
        return run.finish(trainer, task, data, validation=True, test=True)

An exception in the block is recorded as a failure, Ctrl-C and SIGTERM as an interruption. The
further processes of a data-parallel run execute the same lines, without the lock and without
writing.
"""

from __future__ import annotations

import logging
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities.exceptions import SIGTERMException

from gradflow.errors import ConfigError
from gradflow.runs import wandb_run
from gradflow.runs.config import RunConfig
from gradflow.runs.files import CONFIG, GRADIENTS, LAST, STATUS, claimed
from gradflow.runs.log_again import log_again
from gradflow.runs.metrics import last_values
from gradflow.runs.metrics_file import MetricsFile
from gradflow.runs.settings import result_settings
from gradflow.runs.status import Status, now
from gradflow.training.checkpoints import read_checkpoint
from gradflow.training.distributed import is_first_process, leave_process_group
from gradflow.training.divergence import diverged_at
from gradflow.training.evaluate import figures
from gradflow.training.process import keep_freed_memory, quieten, restored_process
from gradflow.training.steps import steps_done, steps_saved
from gradflow.training.weights import ValidatedWeights

log = logging.getLogger(__name__)


@contextmanager
def open_run(config: RunConfig, folder: Path | str, name: str = "run") -> Iterator[Run]:
    """Lock `folder` for the run of `config`; record how the block ends.

    In the block, torch has the seed and the number of threads of the configuration. Afterwards it
    has the caller's random state and threads again.

    Raises:
        ConfigError: if the folder holds a run of another configuration, or a damaged record.
        RunBusyError: if another process is computing this run.
    """
    folder = Path(folder).resolve()
    quieten()
    keep_freed_memory()
    with ExitStack() as stack:
        if is_first_process():
            stack.enter_context(claimed(folder))
        stack.enter_context(restored_process())
        # Set even where it is torch's choice: MKL would else use fewer threads where it sees fit.
        torch.set_num_threads(config.threads or torch.get_num_threads())
        L.seed_everything(config.seed, verbose=False)
        run = Run(config, folder, name)
        stack.callback(leave_process_group)
        try:
            yield run
        except BaseException as error:
            run.fail(error)
            raise
        finally:
            run.close()


class Run:
    """One run in one process. `checkpoint` is the file to resume from, None to start at step 0."""

    def __init__(self, config: RunConfig, folder: Path, name: str) -> None:
        self.config = config
        self.folder = folder
        self.name = name
        self._is_first = is_first_process()
        self._earlier = _earlier_status(config, folder) if self._is_first else Status.read(folder)
        self.is_finished = self._earlier is not None and self._earlier.state == "finished"
        if self.is_finished:
            log.info("%s: already finished", name)
        # A further process starts after the first has written the status.
        resumes = self._earlier is not None if self._is_first else self._resumed() > 0
        self.checkpoint = folder / LAST if resumes and (folder / LAST).exists() else None
        if self.checkpoint is not None and not self.is_finished:
            read_checkpoint(self.checkpoint)  # fails on a damaged file before anything is built
        self._status: Status | None = None
        self._trainer: L.Trainer | None = None
        self._started = 0.0
        self._wandb: Any = None

    @property
    def metrics(self) -> dict[str, float]:
        """The final metrics of a finished run."""
        assert self._earlier is not None
        return self._earlier.metrics

    def start(self, trainer: L.Trainer) -> None:
        """Set the status to running, and add a W&B logger to the trainer.

        Call it after everything is built, so that a failed build leaves no record. ConfigError if
        W&B needs an API key and has none.
        """
        if not self._is_first:
            return
        mode = self.config.logger.mode
        if mode == "online" and not wandb_run.sign_in():
            mode = "offline"
        earlier = self._earlier
        self.config.save(self.folder / CONFIG)
        status = Status("running", wandb_id=earlier.wandb_id if earlier else None)
        status.threads = torch.get_num_threads()
        if earlier is not None and self.checkpoint is not None:
            status.resumed, status.seconds = earlier.resumed + 1, earlier.seconds
        status.write(self.folder)
        self._status, self._started, self._trainer = status, time.monotonic(), trainer
        loggers = trainer.loggers
        if mode != "none":
            self._wandb = wandb_run.start_run(mode, self.config, self.folder, self.name, status)
            trainer.loggers = [*loggers, WandbLogger(experiment=self._wandb)]
        # Drop the rows that training will write again; without a checkpoint, all rows.
        step = steps_saved(read_checkpoint(self.checkpoint)) if self.checkpoint else 0
        for logger in loggers:
            if isinstance(logger, MetricsFile):
                logger.drop_from(step)
        if step == 0:  # the monitor would keep it under another name
            shutil.rmtree(self.folder / GRADIENTS, ignore_errors=True)
        log_again([x for x in trainer.loggers if x not in loggers], self.folder, step)

    def finish(
        self,
        trainer: L.Trainer,
        task: L.LightningModule,
        data: L.LightningDataModule,
        *,
        validation: bool,
        test: bool,
    ) -> dict[str, float]:
        """Save the final weights, evaluate them, and return all metrics.

        `scripts/evaluate.py` computes the same figures. Validation is skipped if the latest one
        used these weights in a single process. A mean over several processes differs by rounding.
        """
        trainer.save_checkpoint(self.folder / LAST)
        known = trainer.world_size == 1 and any(
            isinstance(callback, ValidatedWeights) and callback.are_those_of(task)
            for callback in trainer.callbacks  # type: ignore[attr-defined]
        )
        loggers, step, epoch = trainer.loggers, steps_done(trainer), trainer.current_epoch
        if step == 0:
            raise ConfigError("no step was made: has the training split fewer images than a batch?")
        leave_process_group()
        if self._status is None:
            return {}
        found = figures(self.config, task, data, validation=validation and not known, test=test)
        for logger in loggers if found else ():
            logger.log_metrics(found | {"epoch": epoch}, step=step)
        self._status.steps = step
        self._status.diverged_at = diverged_at(trainer)
        self._status.metrics = last_values(self.folder)
        self._status.state = "finished"
        return self._status.metrics

    def fail(self, error: BaseException) -> None:
        """Record the error. After Ctrl-C or SIGTERM, raise the exception that ends the process."""
        stopped = isinstance(error, KeyboardInterrupt | SystemExit)
        terminated = isinstance(error, SIGTERMException)
        if self._status is not None and self._trainer is not None:
            self._status.steps = steps_done(self._trainer)  # even if it failed
            with suppress(ConfigError, OSError):
                self._status.metrics = last_values(self.folder)
            self._status.state = "interrupted" if stopped else "failed"
            first = f"{type(error).__name__}: {error}".splitlines()[0].removesuffix(": ")
            self._status.error = "SIGTERM" if terminated else "Ctrl-C" if stopped else first
        if terminated:
            raise SystemExit(128 + signal.SIGTERM) from error
        if stopped:  # Lightning turns a KeyboardInterrupt into a SystemExit
            raise KeyboardInterrupt from error

    def close(self) -> None:
        """Write the status and close W&B, even if one of them raises."""
        status = self._status
        if status is None:
            return
        status.seconds += time.monotonic() - self._started
        status.end = now()
        with ExitStack() as ends:  # run in reverse order
            if self._wandb is not None:
                failed = status.state != "finished"
                ends.callback(wandb_run.finish_run, self._wandb, failed=failed)
                ends.callback(wandb_run.attach_record, self._wandb, self.folder)
            ends.callback(status.write, self.folder)

    def _resumed(self) -> int:
        return 0 if self._earlier is None else self._earlier.resumed


def _earlier_status(config: RunConfig, folder: Path) -> Status | None:
    """Return the status of the run in the folder. ConfigError if that is another run."""
    status = Status.read(folder)
    if status is None and (folder / STATUS).exists():
        raise ConfigError(f"{folder / STATUS}: unreadable; remove the folder or choose another")
    if not (folder / CONFIG).exists():
        if status is not None and status.state == "finished":
            raise ConfigError(f"{folder / CONFIG}: missing; remove the folder or choose another")
        return None
    recorded = result_settings(type(config).load(folder / CONFIG).model_dump())
    for key, value in result_settings(config.model_dump()).items():
        if recorded.get(key) != value:
            raise ConfigError(
                f"{folder}: holds a run with {key}={recorded.get(key)}, not {value}; "
                "choose another study.name or hydra.run.dir, or remove the folder"
            )
    return status
