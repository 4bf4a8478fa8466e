"""One further process of a data-parallel run: `python -m gradflow.training.worker FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path

from gradflow.config import Config
from gradflow.training.status import CONFIG
from gradflow.training.train import fit

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    fit(Config.load(folder / CONFIG), folder, loggers=[], resume=False, title="")
