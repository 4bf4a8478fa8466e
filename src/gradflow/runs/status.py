"""status.json: what became of a run, and what it was made with. Written whole, never in place.

A run that is killed cannot say so: its file still reads "running" while nobody holds its lock.
"""

from __future__ import annotations

import json
import platform
import subprocess
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import ConfigDict, TypeAdapter

from gradflow.gradients.whole import write_text
from gradflow.runs.files import REFUSAL, STATUS

State = Literal["running", "finished", "failed", "interrupted"]


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
        write_text(folder / STATUS, json.dumps(asdict(self), indent=2) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Status | None:
        """Read a run's status; None if it has none, or none that this version understands."""
        try:
            return TypeAdapter(cls).validate_json((folder / STATUS).read_bytes())
        except (OSError, ValueError):
            return None


def write_refusal(folder: Path, error: str) -> None:
    """Say beside a run's record why a later launch could not do what it was asked to."""
    write_text(folder / REFUSAL, json.dumps({"time": now(), "error": error}) + "\n")


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
