"""Run one further process of a data-parallel run: `python -m gradflow.training.worker FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path

from gradflow.runs.config import read_config
from gradflow.runs.files import CONFIG
from gradflow.training.project import load_project

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    # The first process wrote the folder before starting this one.
    project = load_project(str(read_config(folder / CONFIG)["project"]))
    project.train(project.config.load(folder / CONFIG), folder, "")
