"""A user of the server: the project's own command line, and W&B's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from processes import command, with_program
from wandb_server import KEY, REPOSITORY

# A run of seconds: a small net on few synthetic images.
TINY = [
    "data=synthetic",
    "data.train_images=300",
    "data.validation=100",
    "data.test_images=50",
    "data.batch_size=16",
    "model.depth=8",
    "model.width=4",
    "trainer=cpu",
    "threads=1",
    "steps=24",
    "validate_every=8",
    "log_every=4",
    "monitor.every_n_steps=6",
]


def environment(url: str, home: Path, key: str | None = KEY) -> dict[str, str]:
    """Return the environment of a user of the server at `url`, with W&B files in `home`."""
    values = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_")}
    values |= {f"WANDB_{kind}_DIR": str(home / "wandb") for kind in ("DATA", "CACHE", "CONFIG")}
    values |= {"HOME": str(home), "WANDB_BASE_URL": url, "WANDB_ERROR_REPORTING": "false"}
    values |= {"OMP_NUM_THREADS": "1"}
    values["PYTHONPATH"] = os.pathsep.join([str(home), values.get("PYTHONPATH", "")])
    return values | ({"WANDB_API_KEY": key} if key is not None else {})


def train(environment: dict[str, str], *words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run scripts/train.py, or the program that `words` begin with, in the repository."""
    return _run(environment, command(*with_program(words, "scripts/train.py")))


def wandb(environment: dict[str, str], *words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the `wandb` program, which must succeed."""
    program = str(Path(sys.executable).with_name("wandb"))
    done = _run(environment, [program, *map(str, words)])
    assert done.returncode == 0, done.stderr
    return done


def _run(environment: dict[str, str], command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=REPOSITORY,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=250,
    )
