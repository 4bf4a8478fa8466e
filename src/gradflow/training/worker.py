"""One further process of a data-parallel run: `python -m gradflow.training.worker FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path

from gradflow.runs.status import CONFIG, Status
from project.config import Config
from project.train import fit

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    status = Status.read(folder)
    assert status is not None  # the first process wrote it before it started this one
    resume = status.resumed > 0
    fit(Config.load(folder / CONFIG), folder, loggers=[], resume=resume, title="")
