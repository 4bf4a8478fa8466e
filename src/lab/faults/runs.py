"""Do many trainings, and keep what each of them left: an outcome, a verdict, a line of a CSV file.

A training is finished once its outcome is written. A killed suite therefore goes on where it
stopped. Verdicts are computed from the stored records whenever the CSV file is written.
"""

from __future__ import annotations

import csv
import json
import math
import multiprocessing
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from gradflow.gradients.atomic import write_text
from gradflow.gradients.record import scan_gradients
from gradflow.gradients.verdict import diagnose_record

OUTCOME = "outcome.json"  # in a run's folder: results that are not in the record
Task = TypeVar("Task")


def do_all(
    train: Callable[[Task], str],
    tasks: Sequence[Task],
    processes: int,
    deadline: float = math.inf,
) -> None:
    """Call `train` for each task, and print the name that it returns.

    No training begins after `deadline`, in seconds since the epoch.
    """
    before_deadline = partial(_before, deadline, train)
    if processes == 1:
        _print(map(before_deadline, tasks), len(tasks))
        return
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        _print(pool.imap_unordered(before_deadline, tasks), len(tasks))


def _before(deadline: float, train: Callable[[Task], str], task: Task) -> str:
    return train(task) if time.time() < deadline else ""


def _print(names: Any, count: int) -> None:
    for done, name in enumerate(names, 1):
        if name:
            print(f"{done}/{count} {name}", flush=True)


def write_outcome(path: Path, outcome: Mapping[str, Any]) -> None:
    """Write an outcome, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(outcome))


def read_outcome(path: Path) -> dict[str, Any] | None:
    """Return an outcome; None if the training is not finished."""
    return dict(json.loads(path.read_text())) if path.exists() else None


def verdicts(folder: Path) -> dict[str, Any]:
    """Return the present code's verdict on a stored record, and its verdict by step 20."""
    record = scan_gradients(folder).collect()
    verdict, early = diagnose_record(record), diagnose_record(record, until=20)
    return {
        "verdict": verdict.kind,
        "confidence": verdict.confidence,
        "by_step_20": early.kind,
    }


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a CSV file with one line a run, sorted by name."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(sorted(rows, key=lambda row: str(row["name"])))


def read_rows(path: Path) -> list[dict[str, str]]:
    """Return the lines of such a file."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))
