"""Manage a run around its training: lock, resume, status, final metrics and W&B.

    with open_run(config, folder, name) as run:
        if run.is_finished:
            return run.metrics
        …                                  # build the task, the data and a trainer
        run.start(trainer)                 # from here on the folder says "running"
        trainer.fit(task, data, ckpt_path=run.checkpoint, weights_only=True)
        return run.finish(trainer, task, data, validation=True, test=True)

An exception in the block is recorded as a failure. Ctrl-C, SIGTERM and what Slurm sends before a
time limit are an interruption: training ends after the present step, with a checkpoint (see
`signals.py` and `checkpoints.py`). The further processes of a data-parallel run execute the same
lines, without the lock and without writing.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.loggers import WandbLogger

from gradflow.errors import ConfigError, DataError, RankError
from gradflow.runs import wandb_run
from gradflow.runs.config import RunConfig
from gradflow.runs.files import CONFIG, GRADIENTS, LAST, STATUS, claimed
from gradflow.runs.log_again import log_again
from gradflow.runs.metrics import last_values, read_rows
from gradflow.runs.metrics_file import MetricsFile
from gradflow.runs.settings import result_settings
from gradflow.runs.status import ENDED, Status, now
from gradflow.training import slurm
from gradflow.training.checkpoints import (
    LastCheckpoint,
    epoch_of_last_step,
    read_checkpoint,
    rows_saved,
)
from gradflow.training.distributed import Processes, leave_process_group, threads_per_process
from gradflow.training.divergence import diverged_at
from gradflow.training.evaluate import figures
from gradflow.training.heartbeat import Heartbeat
from gradflow.training.process import keep_freed_memory, quieten, restored_process
from gradflow.training.ranks import announce, host, is_first_process
from gradflow.training.signals import Signals, Stopped
from gradflow.training.steps import steps_done, steps_saved
from gradflow.training.stop_when_sick import stopped_by
from gradflow.training.weights import ValidatedWeights

log = logging.getLogger(__name__)


@contextmanager
def open_run(config: RunConfig, folder: Path | str, name: str = "run") -> Iterator[Run]:
    """Lock `folder` for the run of `config`; record how the block ends.

    In the block, torch has the seed and the number of threads of the configuration. Afterwards it
    has the caller's random state and threads again.

    A signal leaves the block as KeyboardInterrupt (SIGINT) or as SystemExit (128 + signal), after
    the run is recorded. If it means that a Slurm job shall continue later, the job is queued again.

    Raises:
        ConfigError: if the folder holds a run of another configuration, or a damaged record.
        RunBusyError: if another process is computing this run.
    """
    folder = Path(folder).resolve()
    quieten()
    keep_freed_memory()
    signals = Signals()
    try:
        with signals, ExitStack() as stack:
            if is_first_process():
                host()
                stack.callback(announce, None)  # if the run does not begin
                stack.enter_context(claimed(folder))
            stack.enter_context(restored_process())
            # Set even where it is torch's choice: MKL would else use fewer threads where it sees
            # fit.
            threads = threads_per_process(config.trainer)  # fails if other processes were started
            torch.set_num_threads(config.threads or threads)
            L.seed_everything(config.seed, verbose=False)
            run = Run(config, folder, name, signals)
            stack.callback(leave_process_group)
            try:
                yield run
            except BaseException as error:
                cause = run.cause(error)
                run.fail(cause)
                if cause is not error:
                    raise cause from error
                raise
            finally:
                with signals.waiting():
                    run.close()
            signals.raise_if_received()  # while it was closed
    except (SystemExit, KeyboardInterrupt) as stopped:  # or what an earlier handler has raised
        # The folder is free again: the job may start in no time, on another machine.
        if is_first_process() and slurm.asks_to_requeue(signals.received, os.environ):
            slurm.requeue()
        if isinstance(stopped, Stopped) and stopped.signal == signal.SIGINT:
            raise KeyboardInterrupt from stopped
        raise


class Run:
    """One run in one process. `checkpoint` is the file to resume from, None to start at step 0."""

    def __init__(self, config: RunConfig, folder: Path, name: str, signals: Signals) -> None:
        self.config = config
        self.folder = folder
        self.name = name
        self._signals = signals
        self._is_first = is_first_process()
        self._goes_on = False  # beyond the end that it had
        if self._is_first:
            self._earlier, self._goes_on = _earlier_run(config, folder)
        else:
            self._earlier = Status.read(folder)
        was_finished = self._earlier is not None and self._earlier.state in ENDED
        self.is_finished = was_finished and not self._goes_on
        if self.is_finished:
            log.info("%s: already finished", name)
        elif self._earlier is not None and config.logger.mode != "none":
            wandb_run.refuse_another_id(self._earlier)
        # A further process starts after the first has written the status.
        resumes = self._earlier is not None if self._is_first else self._resumed() > 0
        self.checkpoint = folder / LAST if resumes and (folder / LAST).exists() else None
        if self.checkpoint is not None and not self.is_finished:
            read_checkpoint(self.checkpoint)  # fails on a damaged file before anything is built
        self._status: Status | None = None
        self._trainer: L.Trainer | None = None
        self._processes: Processes | None = None
        self._started = 0.0
        self._seconds = 0.0  # of the parts before this one
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
        if trainer.world_size > 1:
            self._processes = Processes(trainer, self.folder, self._abandon)
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, LastCheckpoint):
                callback.signals, callback.goes_on = self._signals, self._goes_on
                # Lightning's own handlers end a training elsewhere, and save elsewhere on Slurm.
                connector: Any = trainer._signal_connector
                connector.register_signal_handlers = lambda: None
        if not self._is_first:
            return
        mode = self.config.logger.mode
        if mode == "online" and not wandb_run.sign_in():
            mode = "offline"
        earlier = self._earlier
        saved = read_checkpoint(self.checkpoint) if self.checkpoint is not None else None
        step = 0 if saved is None else steps_saved(saved)
        self.config.save(self.folder / CONFIG)
        status = Status("running", steps=step, wandb_id=earlier.wandb_id if earlier else None)
        status.threads = torch.get_num_threads()
        if earlier is not None and self.checkpoint is not None:
            status.resumed, self._seconds = earlier.resumed + 1, earlier.seconds
        self._status, self._started, self._trainer = status, time.monotonic(), trainer
        self._write_running(step)
        trainer.callbacks.append(Heartbeat(self._write_running))  # type: ignore[attr-defined]
        loggers = trainer.loggers
        if mode != "none":
            self._wandb = wandb_run.start_run(mode, self.config, self.folder, self.name, status)
            trainer.loggers = [*loggers, WandbLogger(experiment=self._wandb)]
        # Drop the rows that training will write again; without a checkpoint, all rows.
        rows = 0 if saved is None else rows_saved(saved)
        if rows is None:
            rows = sum(int(row["step"]) < step for row in read_rows(self.folder))
        for logger in loggers:
            if isinstance(logger, MetricsFile):
                logger.keep(rows)
        if step == 0:  # the monitor would keep it under another name
            shutil.rmtree(self.folder / GRADIENTS, ignore_errors=True)
        announce(self.folder)
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
        self._signals.waits = False
        self._signals.raise_if_received()
        known = trainer.world_size == 1 and any(
            isinstance(callback, ValidatedWeights) and callback.are_those_of(task)
            for callback in trainer.callbacks  # type: ignore[attr-defined]
        )
        loggers, step, epoch = trainer.loggers, steps_done(trainer), epoch_of_last_step(trainer)
        if step == 0:
            raise ConfigError("no step was made: has the training split fewer images than a batch?")
        leave_process_group()
        if self._processes is not None:
            self._processes.join()
            self._processes = None
        if self._status is None:
            return {}
        stopped = stopped_by(trainer)
        validation, test = (validation and not known, test) if stopped is None else (False, False)
        found = figures(self.config, task, data, validation=validation, test=test)
        for logger in loggers if found else ():
            logger.log_metrics(found | {"epoch": epoch}, step=step)
        self._status.steps = step
        self._status.diverged_at = diverged_at(trainer)
        self._status.metrics = last_values(self.folder)
        self._status.state = "finished" if stopped is None else "stopped"
        return self._status.metrics

    def cause(self, error: BaseException) -> BaseException:
        """Return why the run ends: in a data-parallel run perhaps another process' reason.

        Processes other than the first end here, since the first one reports it.
        """
        if self._processes is None or not isinstance(error, Exception):
            return error
        if isinstance(error, ConfigError | DataError) and self._is_first:
            return error
        reason = self._processes.reason(error)
        if not self._is_first:
            sys.exit(1)
        return reason

    def fail(self, error: BaseException) -> None:
        """Record the error, or that a signal has stopped the run.

        Where signals cannot be handled, a KeyboardInterrupt is raised again for Ctrl-C: Lightning
        turns it into a SystemExit.
        """
        ctrl_c = isinstance(error, KeyboardInterrupt) or (
            isinstance(error, SystemExit) and not self._signals.are_handled
        )
        stopped = isinstance(error, Stopped)
        if self._status is not None and self._trainer is not None:
            self._status.steps = steps_done(self._trainer)  # even if it failed
            with suppress(ConfigError, OSError):
                self._status.metrics = last_values(self.folder)
            self._status.state = "interrupted" if stopped or ctrl_c else "failed"
            self._status.error = _reason(error)
        if ctrl_c and not stopped:
            raise KeyboardInterrupt from error

    def close(self) -> None:
        """Write the status and close W&B, even if one of them raises."""
        if self._processes is not None:
            self._processes.end()
        status = self._status
        if status is None:
            return
        status.seconds = self._seconds + time.monotonic() - self._started
        status.end = now()
        with ExitStack() as ends:  # run in reverse order
            if self._wandb is not None:
                failed = status.state not in ENDED
                ends.callback(wandb_run.finish_run, self._wandb, failed=failed)
                ends.callback(wandb_run.attach_record, self._wandb, self.folder)
            ends.callback(status.write, self.folder)

    def _abandon(self, error: RankError) -> None:
        """Record the end while the main thread waits for a process that is gone."""
        print(f"error: {error}", file=sys.stderr)
        self.fail(error)
        self._processes = None
        self.close()

    def _write_running(self, steps: int) -> None:
        """Write how far the run is, so that a killed run has lost no second of its time."""
        assert self._status is not None
        self._status.steps = steps
        self._status.seconds = self._seconds + time.monotonic() - self._started
        self._status.write(self.folder)

    def _resumed(self) -> int:
        return 0 if self._earlier is None else self._earlier.resumed


def _reason(error: BaseException) -> str:
    """Return the error in one line; of a signal, its name."""
    if isinstance(error, Stopped) and error.signal != signal.SIGINT:
        return error.signal.name
    if isinstance(error, Stopped | KeyboardInterrupt):
        return "Ctrl-C"
    if isinstance(error, RankError):
        return str(error)
    return f"{type(error).__name__}: {error}".splitlines()[0].removesuffix(": ")


def _earlier_run(config: RunConfig, folder: Path) -> tuple[Status | None, bool]:
    """Return the status of the run in the folder, and whether `config` goes on after its end.

    It does with more steps than before, or, where a callback had ended training before its last
    step, with other callbacks. ConfigError if it is another run.
    """
    status = Status.read(folder)
    if status is None and (folder / STATUS).exists():
        raise ConfigError(
            f"{folder / STATUS}: unreadable, or of another version; remove the folder or choose "
            "another"
        )
    finished = status if status is not None and status.state in ENDED else None
    if not (folder / CONFIG).exists():
        if finished:
            raise ConfigError(f"{folder / CONFIG}: missing; remove the folder or choose another")
        return None, False
    earlier = type(config).load(folder / CONFIG)
    recorded = result_settings(earlier.model_dump())
    may_differ = {"steps"} if config.steps > earlier.steps else set()
    if finished and finished.diverged_at is None and finished.steps < earlier.steps:
        may_differ.add("callbacks")
    goes_on = False
    for key, value in result_settings(config.model_dump()).items():
        if recorded.get(key) == value:
            continue
        goes_on = key.partition(".")[0] in may_differ
        if not goes_on:
            found = f"{key}={recorded[key]}, not {value}" if key in recorded else f"no {key}"
            older = "" if key in recorded else " of an older version,"
            raise ConfigError(
                f"{folder}: holds a run{older} with {found}; "
                "choose another study.name or hydra.run.dir, or remove the folder"
            )
    return status, goes_on
