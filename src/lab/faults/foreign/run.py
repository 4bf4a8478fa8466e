"""Train the foreign suite's runs, and write one line for each: its score, its label, its verdict.

Finished runs are not trained again. Verdicts are computed from the records in the runs' folder, so
that thresholds can be set without training. `python -m lab.faults.foreign.run <folder>` does both.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer, seed_everything

from gradflow.gradients.atomic import write_text
from gradflow.gradients.monitor import GradientMonitor
from gradflow.gradients.record import scan_gradients
from gradflow.gradients.verdict import diagnose_record
from gradflow.training.process import quieten
from gradflow.training.seeding import SeedBatches
from lab.faults.foreign.cases import HEALTHY, SICK, ForeignCase, foreign_cases
from lab.faults.foreign.data import Batch

RESULTS = Path(__file__).with_name("results.csv")
_OUTCOME = "outcome.json"  # in a run's folder: what is not in the record


def run_all(cases: Sequence[ForeignCase], folder: Path) -> None:
    """Train the runs that have no outcome below `folder` yet, one after the other."""
    quieten()
    torch.set_num_threads(1)
    missing = [case for case in cases if not (folder / case.name / _OUTCOME).exists()]
    for done, case in enumerate(missing, 1):
        outcome = run(case, folder / case.name)
        print(f"{done}/{len(missing)} {case.name} {outcome}", flush=True)


def run(case: ForeignCase, folder: Path) -> dict[str, Any]:
    """Train one run and write its outcome.

    An error in training, or in the monitor, is part of the outcome.
    """
    module, batches, score = case.build()
    start = time.perf_counter()
    error = ""
    try:
        _train(module, batches, folder, case.steps, case.seed)
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as e:
        error = f"{type(e).__name__}: {e}"
    outcome = {
        "score": round(max(score(module), -1.0), 4),
        "seconds": round(time.perf_counter() - start, 1),
        "error": error,
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / _OUTCOME, json.dumps(outcome) + "\n")
    return outcome


def _train(
    module: LightningModule, batches: Iterable[Batch], folder: Path, steps: int, seed: int
) -> None:
    seed_everything(seed, verbose=False)
    trainer = Trainer(
        # Lightning counts the steps of every optimizer.
        max_steps=steps * (1 if module.automatic_optimization else 2),
        max_epochs=-1,
        accelerator="cpu",
        devices=1,
        default_root_dir=folder,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        callbacks=[GradientMonitor(on_error="raise"), SeedBatches(seed)],
    )
    trainer.fit(module, batches)


def label(score: float) -> str:
    """Return the outcome that a score means: healthy, sick or unclear."""
    return "healthy" if score >= HEALTHY else "sick" if score <= SICK else "unclear"


def judge_all(cases: Sequence[ForeignCase], folder: Path) -> list[dict[str, Any]]:
    """Return the lines of all runs, with verdicts computed from their records now.

    `confirmed` is 1 if the outcome confirms the cause: the base learned, and a faulty run did not.
    """
    outcomes = {
        case.name: json.loads((folder / case.name / _OUTCOME).read_text()) for case in cases
    }
    scores = {name: outcome["score"] for name, outcome in outcomes.items()}
    healthy = {
        case.base
        for case in cases
        if case.fault == "none" and label(scores[case.name]) == "healthy"
    }
    rows = []
    for case in cases:
        record = scan_gradients(folder / case.name)
        verdict, early = diagnose_record(record), diagnose_record(record, until=20)
        outcome = label(scores[case.name])
        expected = "healthy" if case.fault == "none" else "sick"
        rows.append(
            {
                "name": case.name,
                "part": case.part,
                "base": case.base,
                "fault": case.fault,
                "allowed": " ".join(case.allowed),
                "score": scores[case.name],
                "label": outcome,
                "confirmed": int(case.base in healthy and outcome == expected),
                "verdict": verdict.kind,
                "confidence": verdict.confidence,
                "by_step_20": early.kind,
                "error": outcomes[case.name]["error"],
            }
        )
    return sorted(rows, key=lambda row: str(row["name"]))


def write_results(rows: Sequence[dict[str, Any]]) -> None:
    """write results.csv."""
    with RESULTS.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def main() -> None:
    """Train what is missing, then write results.csv."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="of the runs' records")
    parser.add_argument("--healthy", action="store_true", help="train the healthy bases alone")
    arguments = parser.parse_args()
    cases = foreign_cases()
    if arguments.healthy:
        run_all([case for case in cases if case.fault == "none"], arguments.folder)
        return
    run_all(cases, arguments.folder)
    write_results(judge_all(cases, arguments.folder))


if __name__ == "__main__":
    main()
