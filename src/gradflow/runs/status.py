"""status.json: what became of a run, and what it was made with. Written whole, never in place.

A run that is killed cannot say so: its file still reads "running" while nobody holds its lock.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import ClassVar, Literal

from filelock import FileLock, Timeout
from pydantic import ConfigDict, TypeAdapter

FILE = "status.json"
CONFIG = "config.yaml"
TYPED = ".hydra/overrides.yaml"  # the words that were typed, as Hydra leaves them
REFUSAL = "refusal.json"  # why a later launch left the run alone; its record stays
State = Literal["running", "finished", "failed", "interrupted"]


class RunBusyError(RuntimeError):
    """Another process is computing this run."""


@dataclass
class Status:
    """One run's state. Times are ISO 8601 in UTC; `seconds` is the training's wall time."""

    # What `read` takes for a status: these fields and types, and no others.
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(strict=True, extra="forbid")

    state: State
    start: str = field(default_factory=lambda: now())
    end: str | None = None
    seconds: float = 0.0
    steps: int = 0
    diverged_at: int | None = None  # the step by which the loss was no longer finite
    error: str | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    wandb_id: str | None = None
    resumed: int = 0
    threads: int | None = None  # CPU threads; another count adds in another order, and rounds so
    host: str = field(default_factory=platform.node)
    git: dict[str, str | bool | None] = field(default_factory=lambda: git_state())
    versions: dict[str, str] = field(default_factory=lambda: library_versions())

    def write(self, folder: Path) -> None:
        """Put the file in place in one move."""
        aside = folder / f".{FILE}.{os.getpid()}"
        try:
            aside.write_text(json.dumps(asdict(self), indent=2) + "\n")
            aside.replace(folder / FILE)
        finally:
            aside.unlink(missing_ok=True)

    @classmethod
    def read(cls, folder: Path) -> Status | None:
        """Read a run's status; None if it has none, or none that this version understands."""
        try:
            return TypeAdapter(cls).validate_json((folder / FILE).read_bytes())
        except (OSError, ValueError):
            return None


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Hold the run's lock, which the system frees when a process is killed. RunBusyError."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise RunBusyError(f"{folder}: another process is computing this run") from None
    try:
        for orphan in folder.glob(f".{FILE}.*"):
            orphan.unlink()  # left by a process that was killed while it wrote
        yield
    finally:
        lock.release()


def is_claimed(folder: Path) -> bool:
    """Say whether a living process holds the run's lock."""
    if not (folder / ".lock").exists():
        return False
    try:
        with FileLock(folder / ".lock", blocking=False):
            return False
    except Timeout:
        return True
    except OSError:  # a folder of somebody else's, in which nobody here computes
        return False


def write_refusal(folder: Path, error: str) -> None:
    """Say beside a run's record why a later launch could not do what it was asked to."""
    (folder / REFUSAL).write_text(json.dumps({"time": now(), "error": error}) + "\n")


def now() -> str:
    """Return the time, in UTC, so finely that runs of one second sort in the order they began."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def git_state() -> dict[str, str | bool | None]:
    """Return the commit of the code that runs, wherever it was started, and whether it is dirty.

    Dirty means that files differ from the commit. Both are None outside of a git repository.
    """

    def git(*words: str) -> str | None:
        command = ["git", "-C", str(Path(__file__).parent), *words]
        try:
            return subprocess.run(
                command, capture_output=True, text=True, check=True, timeout=10
            ).stdout.strip()
        except (OSError, subprocess.SubprocessError):
            return None

    changes = git("status", "--porcelain")
    return {"commit": git("rev-parse", "HEAD"), "dirty": None if changes is None else bool(changes)}


def library_versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that decide a result."""
    names = ("torch", "torchvision", "lightning", "hydra-core", "wandb", "gradflow")
    return {"python": platform.python_version()} | {name: version(name) for name in names}
