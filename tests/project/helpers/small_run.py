"""A run of seconds: a small net on few synthetic images, and the real command line."""

import subprocess
from pathlib import Path

import processes

REPOSITORY = Path(__file__).parents[3]
# Instead of a program: scripts/train.py, killed with -9. WHEN and STEP follow.
DYING = [processes.DYING, "scripts/train.py", "project.tasks.Classifier"]
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


def run(tmp_path: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run scripts/train.py, or the program that `words` begin with, in the repository."""
    words = processes.with_program(words, "scripts/train.py")
    return processes.run(tmp_path, *words, cwd=REPOSITORY)
