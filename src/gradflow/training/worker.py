"""Run one further process of a data-parallel run: `python -m gradflow.training.worker FOLDER`."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

if __name__ == "__main__":
    # Ctrl-C reaches every process of a terminal. The first one decides, and the others follow it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def work(folder: Path) -> None:
    """Compute the run in `folder` with its first process, which has written the folder."""
    from gradflow.runs.config import read_config
    from gradflow.runs.files import CONFIG
    from gradflow.training.project import load_project

    project = load_project(str(read_config(folder / CONFIG)["project"]))
    project.train(project.config.load(folder / CONFIG), folder, "")


def follow() -> bool:
    """Take part in a run that another process leads; return whether there is such a process.

    There is one if torchrun, srun or a user has started both. This process needs no command line:
    it gets the run's folder.
    """
    from gradflow.training.ranks import announced, is_first_process, started_from_outside

    if is_first_process() or not started_from_outside():
        return False
    folder = announced()
    if folder is not None:
        work(folder)
    return True


if __name__ == "__main__":
    work(Path(sys.argv[1]))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # nothing is left to do, and nothing can fail any more
