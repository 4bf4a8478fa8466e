"""A run of seconds: a small net on few synthetic images, and the real command line."""

import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[3]
SMALL = [
    "data=synthetic",
    "data.train_images=300",
    "data.validation=100",
    "data.test_images=50",
    "data.batch_size=16",
    "model.depth=8",
    "model.width=4",
    "trainer=cpu",
    "logger=none",
    "threads=1",
    "steps=8",
    "validate_every=4",
    "log_every=4",
    "monitor.every_n_steps=3",
]


def command(program: str, *words: str | Path) -> list[str]:
    """Return the command line of `program` (under the repository) with `words`."""
    return [sys.executable, program, *map(str, words)]


def environment(tmp_path: Path) -> dict[str, str]:
    """W&B keeps to `tmp_path`, each process to one thread, and modules in tmp_path are found."""
    folders = {f"WANDB_{kind}_DIR": str(tmp_path / "wandb") for kind in ("DATA", "CACHE", "CONFIG")}
    return os.environ | folders | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(tmp_path)}


def run(
    tmp_path: Path, *words: str | Path, program: str = "scripts/train.py"
) -> subprocess.CompletedProcess[str]:
    """Run the command line to its end, in the repository."""
    return subprocess.run(
        command(program, *words),
        cwd=REPOSITORY,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=200,
    )
