"""Train the foreign suite's runs, and write one line for each: its score, its label, its verdict.

Finished runs are not trained again. Verdicts are computed from the records in the runs' folder, so
that thresholds can be set without training.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule

from lab.faults.foreign.cases import HEALTHY, SICK, ForeignCase, case_named, foreign_cases
from lab.faults.peers import CLASSES, answers
from lab.faults.runs import (
    OUTCOME,
    do_all,
    read_outcome,
    read_rows,
    verdicts,
    write_outcome,
    write_rows,
)
from lab.faults.train import train

RESULTS = Path(__file__).with_name("results.csv")


def run_all(
    processes: int, folder: Path, minutes: float = math.inf, part: str | None = None
) -> None:
    """Train what is missing below `folder`, and write results.csv of what is there.

    No training begins after `minutes`. With `part`, the lines of the other parts stay as they are.
    """
    cases = [case for case in foreign_cases() if part in (None, case.part)]
    train_all(cases, processes, folder, minutes)
    rows: list[Any] = judge_all([case for case in cases if _done(case, folder)], folder)
    kept = [row for row in read_rows(RESULTS) if part not in (None, row["part"])]
    if rows:
        write_rows(RESULTS, [*rows, *kept])


def train_all(
    cases: Sequence[ForeignCase], processes: int, folder: Path, minutes: float = math.inf
) -> None:
    """Train the runs that have no outcome below `folder` yet."""
    missing = [(case.name, folder / case.name) for case in cases if not _done(case, folder)]
    do_all(_train, missing, processes, time.time() + 60 * minutes)


def _done(case: ForeignCase, folder: Path) -> bool:
    return (folder / case.name / OUTCOME).exists()


def _train(task: tuple[str, Path]) -> str:
    """Train one run and write its outcome; an error in training is part of the outcome."""
    name, folder = task
    case = case_named(name)
    module, batches, score = case.build()
    shutil.rmtree(folder, ignore_errors=True)  # what a killed run left
    start = time.perf_counter()
    steps, error = None, ""
    try:
        steps = train(module, batches, folder, case.steps, case.seed, optimizers=optimizers(module))
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as e:
        error = f"{type(e).__name__}: {e}"
    reached = round(max(score(module), -1.0), 4)
    outcome = {"score": reached, "seconds": round(time.perf_counter() - start, 1), "error": error}
    if steps is not None:
        outcome |= answers(steps, label(reached) != "sick")
    write_outcome(folder / OUTCOME, outcome)
    return f"{name} {reached} {outcome['seconds']} s {error}".rstrip()


def optimizers(module: LightningModule) -> int:
    """Return how many optimizers step in each batch: a module without automation has two."""
    return 1 if module.automatic_optimization else 2


def label(score: float) -> str:
    """Return the outcome that a score means: healthy, sick or unclear."""
    return "healthy" if score >= HEALTHY else "sick" if score <= SICK else "unclear"


def judge_all(cases: Sequence[ForeignCase], folder: Path) -> list[dict[str, Any]]:
    """Return the lines of trained runs, with verdicts computed from their records now.

    `confirmed` is 1 if the outcome confirms the cause: the base learned, and a faulty run did not.
    A tool has no answer if the training ended with an error.
    """
    outcomes = {case.name: read_outcome(folder / case.name / OUTCOME) or {} for case in cases}
    labels = {name: label(outcome["score"]) for name, outcome in outcomes.items()}
    healthy = {c.base for c in cases if c.fault == "none" and labels[c.name] == "healthy"}
    return [
        {
            "name": case.name,
            "part": case.part,
            "base": case.base,
            "fault": case.fault,
            "allowed": " ".join(case.allowed),
            "score": outcomes[case.name]["score"],
            "label": labels[case.name],
            "confirmed": int(
                case.base in healthy
                and labels[case.name] == ("healthy" if case.fault == "none" else "sick")
            ),
            **verdicts(folder / case.name),
            **{tool: outcomes[case.name].get(tool, "") for tool in CLASSES},
            "seconds": outcomes[case.name]["seconds"],
            "error": outcomes[case.name]["error"],
        }
        for case in cases
    ]
