"""Train the suite's runs, and write one line for each: its label, its accuracy, the verdicts.

Finished runs are not trained again. If the runs' folder is kept, a second call computes the
verdicts from the records there; the thresholds are set in this way.

Whether a run learned does not depend on anything that the verdict looks at. It is the accuracy of
the trained net on 2000 images that it was not trained on, with norms in training mode.
"""

from __future__ import annotations

import csv
import json
import multiprocessing
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer, seed_everything
from torch import nn

from gradflow.gradients.monitor import GradientMonitor
from gradflow.gradients.record import scan_gradients
from gradflow.gradients.verdict import diagnose_record
from gradflow.launch.compose import compose
from gradflow.training.process import quieten
from gradflow.training.seeding import SeedBatches
from lab.faults.grid import Case, cases
from lab.faults.peers import PeerWatch, answers
from project.build import build_data, build_task

RESULTS = Path(__file__).with_name("results.csv")
_OUTCOME = "outcome.json"  # in a run's folder: results that are not in the record
_EVERY = 10


def run_all(processes: int, folder: Path) -> None:
    """Train every run of the grid, with records below `folder`, and write results.csv."""
    todo = [(case, folder / case.name) for case in cases()]
    missing = [task for task in todo if not (task[1] / _OUTCOME).exists()]
    if missing:
        with multiprocessing.get_context("spawn").Pool(processes) as pool:
            for done, name in enumerate(pool.imap_unordered(_train, missing), 1):
                print(f"{done}/{len(missing)} {name}", flush=True)
    rows = sorted((judge(case, place) for case, place in todo), key=lambda row: row["name"])
    with RESULTS.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def judge(case: Case, folder: Path) -> dict[str, Any]:
    """Return the line of a trained run, with a verdict computed from its record now."""
    record = scan_gradients(folder)
    verdict, early = diagnose_record(record), diagnose_record(record, until=20)
    outcome = json.loads((folder / _OUTCOME).read_text())
    return {
        "name": case.name,
        "part": case.part,
        "base": case.base,
        "fault": case.fault,
        "label": case.label,
        "accuracy": outcome.pop("accuracy"),
        "verdict": verdict.kind,
        "confidence": verdict.confidence,
        "by_step_20": early.kind,
        **outcome,
    }


def _train(task: tuple[Case, Path]) -> str:
    case, folder = task
    quieten()
    torch.set_num_threads(1)
    config = compose([*case.overrides, "logger=none", "threads=1"])
    seed_everything(config.seed, verbose=False)
    data = build_data(config)
    classifier = build_task(config, data)
    if case.bias is not None:
        _shift(classifier.net, case.bias, case.random_sign)
    peers = PeerWatch(_EVERY)
    trainer = Trainer(
        max_steps=config.steps,
        max_epochs=-1,
        accelerator="cpu",
        devices=1,
        default_root_dir=folder,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        callbacks=[GradientMonitor(_EVERY), SeedBatches(config.seed), peers],
    )
    trainer.fit(classifier, data.train_dataloader())
    accuracy = _accuracy(classifier.net, data.val_dataloader())
    outcome = {"accuracy": round(accuracy, 4), **answers(peers.steps, accuracy)}
    (folder / _OUTCOME).write_text(json.dumps(outcome))
    return case.name


@torch.no_grad()
def _shift(net: nn.Module, bias: float, random_sign: bool) -> None:
    """Set the bias of every norm or convolution to `bias`, with random signs on request."""
    shifts = {n: p for n, p in net.named_parameters() if n.endswith("bias") and "head" not in n}
    for shift in shifts.values():
        sign = torch.randint(0, 2, shift.shape) * 2.0 - 1 if random_sign else 1.0
        shift.copy_(torch.full_like(shift, bias) * sign)


@torch.no_grad()
def _accuracy(net: nn.Module, batches: Any) -> float:
    net.train()
    hits = seen = 0
    for images, labels in batches:
        hits += int((net(images).argmax(1) == labels).sum())
        seen += len(labels)
        if seen >= 2000:
            break
    return hits / seen
