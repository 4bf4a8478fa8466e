"""Run folders and records made by hand."""

from pathlib import Path
from typing import Any

import torch

from gradflow.comparison.runs import Run
from gradflow.gradients.histogram import measure
from gradflow.gradients.record import Entry, RecordWriter
from gradflow.training.status import Status


def a_run(folder: Path, **changes: Any) -> Run:
    """A finished run that learned, of a vanishing gradient's remedy, with `changes`."""
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
        "config": {"seed": 0},
    }
    return Run(**(values | changes))


def record(folder: Path, first: float, last: float) -> None:
    """A record whose first layer has gradients of size `first`, and whose last has `last`."""
    writer = RecordWriter(folder, 0)
    names = ("net.stem.conv.weight", "net.stages.0.0.conv1.bias", "net.head.weight")
    entries = [Entry(name, index, 10) for index, name in enumerate(names)]
    gradients = [torch.full((10,), size) for size in (first, 7.0, last)]
    writer.append(0, "gradient", entries, measure(gradients))
    writer.flush()


def a_folder(folder: Path, state: Any = "finished", **changes: Any) -> Path:
    """A run's folder as training leaves it, without its checkpoints."""
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("seed: 0\naxes: {pathology: vanishing, remedy: relu}\n")
    Status(state, **changes).write(folder)
    return folder
