"""Train the designed runs, and write one line for each: its label, its accuracy, the verdicts.

Finished runs are not trained again. If the runs' folder is kept, a second call computes the
verdicts from the records there; the thresholds are set in this way.

Whether a run learned does not depend on anything that the verdict looks at. It is the accuracy of
the trained net on 2000 images that it was not trained on, with norms in training mode.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import seed_everything
from torch import nn

from gradflow.launch.compose import compose
from lab.faults.designed.grid import Case, cases
from lab.faults.peers import answers
from lab.faults.runs import OUTCOME, do_all, read_outcome, verdicts, write_outcome, write_rows
from lab.faults.train import LEARNED, accuracy, train
from project.build import build_data, build_task

RESULTS = Path(__file__).with_name("results.csv")


def run_all(processes: int, folder: Path) -> None:
    """Train every run of the suite, with records below `folder`, and write results.csv."""
    todo = [(case, folder / case.name) for case in cases()]
    do_all(_train, [task for task in todo if not (task[1] / OUTCOME).exists()], processes)
    write_rows(RESULTS, [judge(case, place) for case, place in todo])


def judge(case: Case, folder: Path) -> dict[str, Any]:
    """Return the line of a trained run, with a verdict computed from its record now."""
    outcome = read_outcome(folder / OUTCOME) or {}
    return {
        "name": case.name,
        "part": case.part,
        "base": case.base,
        "fault": case.fault,
        "label": case.label,
        "accuracy": outcome.pop("accuracy"),
        **verdicts(folder),
        **outcome,
    }


def _train(task: tuple[Case, Path]) -> str:
    case, folder = task
    config = compose([*case.overrides, "logger=none", "threads=1"])
    seed_everything(config.seed, verbose=False)
    data = build_data(config)
    classifier = build_task(config, data)
    if case.bias is not None:
        _shift(classifier.net, case.bias, case.random_sign)
    steps = train(classifier, data.train_dataloader(), folder, config.steps, config.seed)
    share = accuracy(classifier.net, data.val_dataloader())
    write_outcome(
        folder / OUTCOME, {"accuracy": round(share, 4), **answers(steps, share > LEARNED)}
    )
    return case.name


@torch.no_grad()
def _shift(net: nn.Module, bias: float, random_sign: bool) -> None:
    """Set the bias of every norm or convolution to `bias`, with random signs on request."""
    shifts = {n: p for n, p in net.named_parameters() if n.endswith("bias") and "head" not in n}
    for shift in shifts.values():
        sign = torch.randint(0, 2, shift.shape) * 2.0 - 1 if random_sign else 1.0
        shift.copy_(torch.full_like(shift, bias) * sign)
