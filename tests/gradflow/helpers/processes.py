"""A program with a command line, run as a user runs it: in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

SMALL_TRAIN = Path(__file__).with_name("small_train.py")
DYING = Path(__file__).with_name("dying.py")
NOTING = Path(__file__).with_name("noting.py")


def command(*words: str | Path) -> list[str]:
    """Return the command line of a Python program, the first of `words`."""
    return [sys.executable, *map(str, words)]


def with_program(words: Sequence[str | Path], default: str | Path) -> Sequence[str | Path]:
    """Prepend `default` unless the words begin with a program."""
    return words if words and str(words[0]).endswith(".py") else [default, *words]


def environment(tmp_path: Path) -> dict[str, str]:
    """Return variables: W&B writes to `tmp_path`, one thread, modules in `tmp_path` importable."""
    folders = {f"WANDB_{kind}_DIR": str(tmp_path / "wandb") for kind in ("DATA", "CACHE", "CONFIG")}
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    return os.environ | folders | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path}


def launched(
    tmp_path: Path, *words: str | Path, variables: Mapping[str, str] | None = None, **options: Any
) -> subprocess.Popen[str]:
    """Start the small project with `words`, in a process that the test then ends.

    What it prints goes to a pipe, unless `options` of Popen say otherwise.
    """
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.Popen(
        command(SMALL_TRAIN, *words),
        cwd=tmp_path,
        env=environment(tmp_path) | dict(variables or {}),
        text=True,
        **(pipes | options),
    )


def run(
    tmp_path: Path, *words: str | Path, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the small project with `words`, or the program that they begin with, to its end."""
    return subprocess.run(
        command(*with_program(words, SMALL_TRAIN)),
        cwd=cwd or tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=200,
        # A shell starts background jobs, and all below them, with SIGINT ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
