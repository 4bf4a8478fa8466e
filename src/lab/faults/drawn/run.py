"""Train the drawn runs and the counterfactuals of the sick ones, and write one line for each run.

A run's folder holds its record, its outcome, and the outcome of each counterfactual. Only missing
ones are trained, so a killed suite goes on where it stopped.
"""

from __future__ import annotations

import math
import shutil
import time
from pathlib import Path
from typing import Any, NamedTuple

from lab.faults.drawn.causes import counterfactuals, cures, right_kinds
from lab.faults.drawn.draws import STEPS, Draw, draws
from lab.faults.drawn.net import DrawnModule
from lab.faults.peers import CLASSES, answers
from lab.faults.runs import OUTCOME, do_all, read_outcome, verdicts, write_outcome, write_rows
from lab.faults.train import LEARNED, accuracy, train
from project.data import CIFAR10

RESULTS = Path(__file__).with_name("results.csv")


class Training(NamedTuple):
    """A draw or a counterfactual of it, and the file of its outcome."""

    draw: Draw
    outcome: Path
    monitor: bool


def run_all(
    processes: int, folder: Path, minutes: float = math.inf, only_counterfactuals: bool = False
) -> None:
    """Train what is missing below `folder`, and write results.csv of what is there.

    No training begins after `minutes`. Counterfactuals come after all runs, or alone.
    """
    deadline = time.time() + 60 * minutes
    if not only_counterfactuals:
        do_all(_train, _runs(folder), processes, deadline)
    do_all(_train, _counterfactuals(folder), processes, deadline)
    rows = [judge(draw, folder / draw.name) for draw in draws() if _done(draw, folder)]
    if rows:
        write_rows(RESULTS, rows)


def judge(draw: Draw, folder: Path) -> dict[str, Any]:
    """Return the line of a trained run, with a verdict computed from its record now.

    `cures` is empty if the run learned, or if a counterfactual is missing. It is `several` if no
    single replacement cures.
    """
    outcome = read_outcome(folder / OUTCOME) or {}
    found: list[str] = []
    known = False
    if not _learned(outcome):
        others = {name: read_outcome(folder / f"{name}.json") for name in counterfactuals(draw)}
        known = None not in others.values()
        found = cures({name: _learned(other or {}) for name, other in others.items()})
    return {
        "name": draw.name,
        **draw.settings,
        "accuracy": outcome["accuracy"],
        "learned": _learned(outcome),
        "last_loss": outcome["last_loss"],
        "cures": ("+".join(found) or "several") if known else "",
        "right_kinds": "+".join(sorted(right_kinds(draw, found))) if known else "",
        **verdicts(folder),
        **{tool: outcome[tool] for tool in CLASSES},
        "seconds": outcome["seconds"],
    }


def _runs(folder: Path) -> list[Training]:
    return [
        Training(draw, folder / draw.name / OUTCOME, True)
        for draw in draws()
        if not _done(draw, folder)
    ]


def _counterfactuals(folder: Path) -> list[Training]:
    """Return the missing counterfactuals of the finished sick runs."""
    return [
        Training(changed, file, False)
        for draw in draws()
        if _done(draw, folder) and not _learned(read_outcome(folder / draw.name / OUTCOME) or {})
        for name, changed in counterfactuals(draw).items()
        if not (file := folder / draw.name / f"{name}.json").exists()
    ]


def _done(draw: Draw, folder: Path) -> bool:
    return (folder / draw.name / OUTCOME).exists()


def _learned(outcome: dict[str, Any]) -> bool:
    return bool(outcome) and outcome["accuracy"] >= LEARNED and math.isfinite(outcome["last_loss"])


def _train(training: Training) -> str:
    draw, file, monitor = training
    if monitor:  # what a killed run left
        shutil.rmtree(file.parent, ignore_errors=True)
    start = time.perf_counter()
    data = CIFAR10(batch_size=draw.batch_size, seed=draw.seed)
    module = DrawnModule(draw)
    steps = train(module, data.train_dataloader(), file.parent, STEPS, draw.seed, monitor)
    share = accuracy(module.net, data.val_dataloader())
    outcome = {"accuracy": round(share, 4), "last_loss": module.last_loss}
    if monitor:
        outcome |= answers(steps, share > LEARNED)  # type: ignore[arg-type]
    seconds = round(time.perf_counter() - start, 2)
    write_outcome(file, {**outcome, "seconds": seconds})
    return f"{draw.name} {file.stem} {seconds} s"
