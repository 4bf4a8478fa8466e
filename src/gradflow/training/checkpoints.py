"""Checkpoints: written atomically, often enough, and resumed after exactly the step they hold.

`last.ckpt` is written by time or by steps, whatever the validation is due, and when a signal asks
the run to end. Lightning's own hooks come too early for that (before the step is logged) or too
late (after validation), so this file wraps two methods of its training loop. A step is:

    advance           forward, backward, optimizer, callbacks, logging
    -- a checkpoint here is `before_validation`: validation is still to come
    on_advance_end    validation, if it is due
    -- a checkpoint here is complete
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import Checkpoint, EarlyStopping, ModelCheckpoint

from gradflow.errors import ConfigError
from gradflow.gradients.atomic import atomic_write, sync
from gradflow.runs.config import CheckpointTimes
from gradflow.runs.files import BEST, CHECKPOINTS, LAST
from gradflow.runs.metrics_file import MetricsFile
from gradflow.training.rank_metrics import load_metrics, save_metrics
from gradflow.training.signals import Signals, Stopped
from gradflow.training.steps import steps_done, steps_saved

_ROWS = "metrics_rows"  # in a checkpoint: rows of metrics.csv by then
_ASK_SECONDS = 1.0  # between two times at which the processes of a run agree


class AtomicCheckpointIO(TorchCheckpointIO):
    """Write next to the destination, then rename.

    Lightning writes to the system's temporary folder first. If that is on another file system, its
    final move is a copy, and a process killed during the copy leaves a broken checkpoint.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Save with torch.save."""
        destination = Path(path)
        destination.parent.mkdir(parents=True, exist_ok=True)
        # Unlike torch's own error, that of an open file says that the disk is full.
        with atomic_write(destination) as temporary, temporary.open("wb") as file:
            torch.save(checkpoint, file)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Load a checkpoint onto the CPU. ConfigError if the file is damaged."""
    checkpoint = _read(path)
    if checkpoint is None:
        folder = path.parent.parent
        best = folder / BEST
        older = _read(best) if best != path and best.exists() else None
        hint = ""
        if older is not None:
            hint = f", or copy {BEST} over it to continue from step {steps_saved(older)}"
        raise ConfigError(f"{path}: is damaged; remove {folder} to train the run again{hint}")
    return checkpoint


def _read(path: Path) -> dict[str, Any] | None:
    with path.open("rb") as file:
        try:
            checkpoint = torch.load(file, map_location="cpu", weights_only=True)
        except Exception:  # its type depends on where the damage is
            return None
    whole = isinstance(checkpoint, dict) and {"global_step", "state_dict"} <= checkpoint.keys()
    return checkpoint if whole else None


def rows_saved(checkpoint: dict[str, Any]) -> int | None:
    """Return how many rows metrics.csv had at a checkpoint; None in those of older versions."""
    rows: int | None = checkpoint.get(_ROWS)
    return rows


def epoch_of_last_step(trainer: Trainer) -> int:
    """Return the epoch in which training ended; Lightning itself is then in the next one."""
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, LastCheckpoint) and callback.epoch is not None:
            return callback.epoch
    return trainer.current_epoch


class RunCheckpoint(ModelCheckpoint):
    """The run's own callback, whose state Lightning keeps apart from a user's ModelCheckpoint."""


def best_checkpoint(folder: Path, *, monitor: str, mode: str) -> RunCheckpoint:
    """Return a callback that saves `best.ckpt`, by the `monitor` of each validation."""
    return RunCheckpoint(
        dirpath=str(folder / CHECKPOINTS),
        filename="best",
        monitor=monitor,
        mode=mode,
        enable_version_counter=False,
    )


class LastCheckpoint(Checkpoint):
    """Save `last.ckpt` between two steps, and end the training there at a signal.

    It is saved after each validation, and `times` says how often besides. An open group of
    accumulated batches is completed first. At the end of training nothing is saved here:
    `Run.finish` saves once more.

    A run resumed from it repeats nothing and skips nothing: validation comes next where it was
    still to come. If training had ended by then, it stays at its end, unless `goes_on`.
    """

    def __init__(self, folder: Path, times: CheckpointTimes) -> None:
        self._path = folder / LAST
        self._times = times
        self.signals = Signals()
        self.goes_on = False  # although training had ended
        self.epoch: int | None = None  # of the last step, once it is made
        self._before_validation = False
        self._ended = False
        self._validated = False  # in the present step
        self._seen = 0  # steps so far
        self._saved_at = 0.0
        self._agreement = _Agreement()
        self._end: dict[str, Any] | None = None  # the loop's state after the last step

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Give weights their precision before a checkpoint is loaded; Lightning does so after it.

        With 64-true, weights would be rounded to 32 bits in between.
        """
        trainer.precision_plugin.convert_module(pl_module)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Unwrap the training loop."""
        if stage == "fit":
            wrapped = trainer.fit_loop.epoch_loop.__dict__
            for name in ("advance", "on_advance_end"):
                wrapped.pop(name, None)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Train no further if training had ended; each process knows of it by the first."""
        if trainer.strategy.broadcast(self._ended and not self.goes_on):
            trainer.should_stop = True

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Load each process' metrics; keep the patience of a run that goes on with more of it."""
        load_metrics(trainer, pl_module, checkpoint)
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            state = checkpoint["callbacks"].get(callback.state_key)
            if isinstance(callback, EarlyStopping) and state:
                state["patience"] = callback.patience

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Wrap the training loop, and let signals wait for the end of a step from now on."""
        self._ended, self._end = False, None
        self._seen = trainer.global_step
        self._saved_at = time.monotonic()
        self._agreement = _Agreement()
        self._resumed = trainer.ckpt_path is not None
        self.teardown(trainer, pl_module, "fit")  # of a training that failed
        loop: Any = trainer.fit_loop.epoch_loop
        loop.advance = self._wrapped_advance(trainer, loop.advance)
        loop.on_advance_end = self._wrapped_end(trainer, loop.on_advance_end)
        self.signals.waits = True

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note it; the loop is not ready for a checkpoint yet."""
        self._validated = True

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note that training has ended, for the checkpoint that follows."""
        self._ended = True

    def state_dict(self) -> dict[str, Any]:
        """Return the state for a checkpoint: where in a step, or after all steps, it is saved."""
        return {"before_validation": self._before_validation, "ended": self._ended}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state from a checkpoint."""
        self._before_validation = state_dict["before_validation"]
        self._ended = state_dict["ended"]

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add each process' metrics, and the number of rows in metrics.csv, which it syncs.

        After the training, the loop's state is that of the last step: Lightning counts the epoch
        in which training ends as complete.
        """
        save_metrics(trainer, pl_module, checkpoint)
        for logger in trainer.loggers:
            if isinstance(logger, MetricsFile) and trainer.is_global_zero:
                checkpoint[_ROWS] = logger.rows
                if logger.path.exists():
                    sync(logger.path)
        if self._ended and self._end is not None:
            checkpoint["loops"]["fit_loop"], checkpoint["epoch"] = self._end, self.epoch

    def _wrapped_advance(self, trainer: Trainer, original: Callable[..., None]) -> Any:
        def advance(fetcher: Any) -> None:
            if self._resumed:
                self._resumed = False
                loop: Any = trainer.fit_loop.epoch_loop
                loop.restarting = False  # Lightning would guess what comes next
                if self._before_validation:
                    self._seen = -1
                    return  # to on_advance_end
                if loop.done:
                    raise StopIteration  # the epoch is complete
            original(fetcher)

        return advance

    def _wrapped_end(self, trainer: Trainer, original: Callable[..., None]) -> Any:
        def on_advance_end(fetcher: Any) -> None:
            if self not in trainer.callbacks:  # type: ignore[attr-defined]
                original(fetcher)  # as a learning rate finder trains, in between
                return
            # Between two steps, gradients are being accumulated, which are in no checkpoint.
            whole = self._seen != trainer.global_step
            self._seen = trainer.global_step
            if whole and not _ends(trainer):
                self._before_validation = True
                self._save_if_due(trainer)
            self._before_validation = self._validated = False
            original(fetcher)
            if _ends(trainer):
                self._end, self.epoch = trainer.fit_loop.state_dict(), trainer.current_epoch
            elif whole and self._validated:
                self._save_if_due(trainer, always=True)

        return on_advance_end

    def _save_if_due(self, trainer: Trainer, *, always: bool = False) -> None:
        """Save `last.ckpt` if it is due; end the training if a signal has come, in any process."""
        steps = self._times.every_n_steps
        always = always or (steps is not None and steps_done(trainer) % steps == 0)
        number = next(iter(self.signals.received), 0)
        number, due = self._agreement.of(trainer, number, self._is_time, always=always)
        if number or due:
            trainer.save_checkpoint(self._path)
            self._saved_at = time.monotonic()
        if number:
            raise Stopped(number)

    @property
    def _is_time(self) -> bool:
        minutes = self._times.every_minutes
        return minutes is not None and time.monotonic() - self._saved_at >= 60 * minutes


def _ends(trainer: Trainer) -> bool:
    """Return whether training ends with this step."""
    loop: Any = trainer.fit_loop
    stops = trainer.should_stop and loop._can_stop_early
    return stops or 0 <= trainer.max_steps <= trainer.global_step


class _Agreement:
    """What all processes of a run do at a step, although a signal reached one, and clocks differ.

    The processes ask each other about once a second: at each step, that would cost a wait for the
    device. Each of them counts the steps until the next time alike.
    """

    def __init__(self) -> None:
        self._asked_at = time.monotonic()
        self._steps = 0  # since then
        self._wait = 1  # steps

    def of(self, trainer: Trainer, number: int, due: bool, *, always: bool) -> tuple[int, bool]:
        """Return the signal of any process, or 0, and whether a checkpoint is due in any.

        `number` and `due` are this process' own; `always` is the same in all.
        """
        if trainer.world_size == 1:
            return number, due or always
        self._steps += 1
        if self._steps < self._wait and not always:
            return 0, False
        seconds = max(time.monotonic() - self._asked_at, 1e-6)
        wait = max(int(self._steps * _ASK_SECONDS / seconds), 1)
        mine = torch.tensor([number, due, wait], dtype=torch.float64)
        mine = mine.to(trainer.strategy.root_device)
        number, any_due, wait = map(int, trainer.strategy.reduce(mine, reduce_op="max").tolist())
        # A first step may be far slower than the next ones.
        self._wait = min(wait, 2 * self._wait)
        self._asked_at, self._steps = time.monotonic(), 0
        return number, bool(any_due) or always
