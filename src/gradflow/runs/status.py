"""status.json: a run's state and result, its host and versions. Written whole, never in place.

A killed run cannot update its file: the state stays "running", but no process holds its lock.
"""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args

from gradflow.gradients.atomic import write_text
from gradflow.runs.files import REFUSAL, STATUS
from gradflow.version import __version__

State = Literal["running", "finished", "stopped", "failed", "interrupted"]
ENDED = ("finished", "stopped")  # nothing is left to compute


@dataclass
class Status:
    """One run's state. Times are ISO 8601 in UTC; `seconds` is the training's wall time."""

    state: State
    start: str = field(default_factory=lambda: now())
    end: str | None = None
    seconds: float = 0.0
    steps: int = 0
    diverged_at: int | None = None  # the step by which the loss was non-finite
    error: str | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    wandb_id: str | None = None
    resumed: int = 0
    threads: int | None = None  # CPU threads; another count adds and rounds in another order
    host: str = field(default_factory=platform.node)
    git: dict[str, str | bool | None] = field(default_factory=lambda: git_state())
    versions: dict[str, str] = field(default_factory=lambda: library_versions())

    def write(self, folder: Path) -> None:
        """Put the file in place in one move."""
        write_text(folder / STATUS, json.dumps(asdict(self), indent=2) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Status | None:
        """Read a run's status; None if it is missing, damaged or of another version."""
        try:
            values = json.loads((folder / STATUS).read_bytes())
            known = isinstance(values, dict) and values.keys() <= _FIELDS.keys()
            has_state = known and "state" in values
            fits = has_state and all(_FIELDS[key](value) for key, value in values.items())
            return cls(**values) if fits else None
        except (OSError, ValueError):
            return None


def _is(*kinds: type) -> Callable[[Any], bool]:
    """Return a check for values of exactly these types: a bool is no int."""
    return lambda value: type(value) in kinds


def _holds(*kinds: type) -> Callable[[Any], bool]:
    """Return a check for a dict whose values have exactly these types."""
    return lambda value: isinstance(value, dict) and all(type(x) in kinds for x in value.values())


# `read` accepts these fields with these types, and no others.
_FIELDS: dict[str, Callable[[Any], bool]] = {
    "state": lambda value: value in get_args(State),
    "start": _is(str),
    "end": _is(str, NoneType),
    "seconds": _is(int, float),
    "steps": _is(int),
    "diverged_at": _is(int, NoneType),
    "error": _is(str, NoneType),
    "metrics": _holds(int, float),
    "wandb_id": _is(str, NoneType),
    "resumed": _is(int),
    "threads": _is(int, NoneType),
    "host": _is(str),
    "git": _holds(str, bool, NoneType),
    "versions": _holds(str),
}


def write_refusal(folder: Path, error: str) -> None:
    """Write why a later launch failed, beside the run's record."""
    write_text(folder / REFUSAL, json.dumps({"time": now(), "error": error}) + "\n")


def now() -> str:
    """Return the time in UTC, to the microsecond, so that runs sort in the order they began."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def git_state() -> dict[str, str | bool | None]:
    """Return the commit of this code, not of the working directory, and whether it is dirty.

    Dirty means that files differ from the commit; then `changes` is a digest of how. Commit and
    dirty are None outside of a git repository.
    """

    def git(*arguments: str) -> str | None:
        # Without a lock: a git that is killed would leave it in the user's repository.
        command = ["git", "--no-optional-locks", "-C", str(Path(__file__).parent), *arguments]
        try:
            return subprocess.run(
                command, capture_output=True, text=True, check=True, timeout=10
            ).stdout.strip()
        except (OSError, subprocess.SubprocessError):
            return None

    changes = git("status", "--porcelain")
    state: dict[str, str | bool | None] = {
        "commit": git("rev-parse", "HEAD"),
        "dirty": None if changes is None else bool(changes),
    }
    if changes:
        how = f"{changes}\n{git('diff', 'HEAD')}"
        state["changes"] = hashlib.sha256(how.encode(errors="replace")).hexdigest()[:12]
    return state


def library_versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that decide a result."""
    names = ("torch", "torchvision", "lightning", "hydra-core", "wandb")
    found = {"python": platform.python_version(), "gradflow": __version__}
    for name in names:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
