"""The files of a run's folder, each name once, and the folder's lock."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gradflow.gradients.atomic import remove_unfinished
from gradflow.gradients.record import FOLDER
from gradflow.gradients.verdict import FILE

CONFIG = "config.yaml"  # every setting, resolved
OVERRIDES = ".hydra/overrides.yaml"  # the job's overrides, as Hydra writes them
STATUS = "status.json"  # what became of the run
REFUSAL = "refusal.json"  # why a later launch failed before training; the record stays
METRICS = "metrics.csv"  # the logged scalars
GRADIENTS = FOLDER  # the gradient record; the monitor works without this package
VERDICT = FILE  # likewise
CHECKPOINTS = "checkpoints"
LAST = f"{CHECKPOINTS}/last.ckpt"  # to resume from
BEST = f"{CHECKPOINTS}/best.ckpt"  # by the headline metric on the validation split
WANDB = "wandb"  # W&B's own files
LOCK = ".lock"  # held by the process that computes the run
LOG = "train.log"  # Hydra's
RANK_LOG = "rank_{}.log"  # what a further process of a data-parallel run prints
FAILED_RANK = ".failed_rank"  # the reason of its first process that failed


_READERS_SECONDS = 1.0  # how long a run waits for those that only ask whether it is computed


class RunBusyError(RuntimeError):
    """Another process is computing this run."""


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Hold the run's lock; the system frees it if the process is killed. RunBusyError if taken."""
    from filelock import FileLock, Timeout  # only where runs are computed

    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=_READERS_SECONDS)
    except Timeout:
        raise RunBusyError(f"{folder}: another process is computing this run") from None
    try:
        remove_unfinished(folder)
        remove_unfinished(folder / CHECKPOINTS)
        yield
    finally:
        lock.release()


def is_claimed(folder: Path) -> bool:
    """Say whether a living process holds the run's lock. Nothing is written."""
    try:
        with (folder / LOCK).open("rb") as file:
            # Shared among readers, and given back at once: `claimed` waits longer than that.
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
    except BlockingIOError:
        return True
    except OSError:  # no lock, or another user's folder, in which no process of ours computes
        return False
