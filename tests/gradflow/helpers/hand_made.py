"""Run folders and records made by hand."""

from pathlib import Path
from typing import Any

import torch
import yaml

from gradflow.gradients.histogram import measure
from gradflow.gradients.record import Entry, RecordWriter
from gradflow.gradients.verdict import Verdict
from gradflow.runs.read import Run
from gradflow.runs.status import Status

# By what a run's own configuration says that it is compared.
COMPARED = {"comparison": {"headline": {"metric": "accuracy", "direction": "max", "percent": True}}}


def a_run(folder: Path, **changes: Any) -> Run:
    """Return a finished, healthy run of a remedy for vanishing gradients, with `changes`."""
    values: dict[str, Any] = {
        "folder": folder,
        "state": "finished",
        "start": "2026-01-01T00:00:00+00:00",
        "seconds": 12.0,
        "steps": 200,
        "diverged_at": None,
        "error": None,
        "metrics": {"train/accuracy": 0.4, "validation/accuracy": 0.35},
        "axes": {"pathology": "none", "remedy": "none"},
        "verdict": a_verdict("healthy"),
        "config": {"seed": 0} | COMPARED,
    }
    return Run(**(values | changes))


def a_verdict(kind: Any) -> Verdict:
    """Return a verdict of this kind with arbitrary other fields."""
    return Verdict(kind, "it shows", 0.9, 199, None, ())


def record(folder: Path, first: float, last: float) -> None:
    """Return a record with dL/dz of RMS `first` and `last` at the first and last nonlinearity."""
    writer = RecordWriter(folder, 0)
    entries = [Entry(name, i, 10) for i, name in enumerate(("stem", "block", "head"))]
    parameter = Entry("stem.weight", 0, 10)
    writer.append(0, "gradient", [parameter], vars(measure([torch.ones(10)])))
    writer.append(0, "pre_activation", entries, {"rms": [1.0, 1.0, 1.0], "units": [4, 4, 10]})
    writer.append(0, "pre_activation_gradient", entries, {"rms": [first, last, 7.0]})
    writer.flush()


def a_folder(folder: Path, state: Any = "finished", **changes: Any) -> Path:
    """Write a run's folder as training does, without checkpoints."""
    folder.mkdir(parents=True)
    config = {"seed": 0, "axes": {"pathology": "vanishing", "remedy": "relu"}} | COMPARED
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    Status(state, **changes).write(folder)
    return folder
