"""The foreign suite: nets, losses and optimizers that strangers would bring, healthy and sick.

Each base is a net with sane settings. Its sick versions have one fault each. The label of a run is
its outcome, a score on data that it was not trained on, and not the fault that was put in: a score
of `HEALTHY` or more is healthy, one of `SICK` or less is sick, and one between is unclear and
counted apart. The kinds that name a fault rightly (`faults.py`) count only if the base learned and
the faulty run did not. No module tells the monitor its chance loss.

The bases are dealt into two parts by a fixed shuffle. No base is in both. A third part,
`fresh`, has other tasks, losses and nets, and is kept for a final judgement.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache, partial
from typing import TypeAlias

import torch
from lightning.pytorch import LightningModule

from gradflow.gradients.verdict import Kind
from lab.faults.foreign.base import Base, Fault
from lab.faults.foreign.bases import bases
from lab.faults.foreign.data import Batch
from lab.faults.foreign.fresh.bases import bases as fresh_bases
from lab.faults.foreign.image_nets import Generative
from lab.faults.foreign.modules import Adversaries, Stranger
from lab.faults.foreign.tasks import Batches, held_out_score

PARTS = ("tuning", "held_out", "fresh")
SICK, HEALTHY = 0.02, 0.05  # scores; see the top of this file
Build: TypeAlias = Callable[
    [], tuple[LightningModule, Iterable[Batch], Callable[[LightningModule], float]]
]


@dataclass(frozen=True)
class ForeignCase:
    """One run of the suite."""

    name: str
    part: str  # one of PARTS
    base: str
    fault: str  # none, or the name of the fault
    allowed: tuple[Kind, ...]  # the kinds that name the cause rightly
    steps: int
    seed: int
    build: Build  # the module, its batches, and its score after training


def case_named(name: str) -> ForeignCase:
    """Return a run of the suite by its name."""
    return next(case for case in foreign_cases() if case.name == name)


@cache
def foreign_cases() -> list[ForeignCase]:
    """Return every run of the suite, the same ones each time."""
    every = bases()
    names = random.Random(0).sample([base.name for base in every], len(every))
    tuning = set(names[: len(names) // 2])
    found: list[ForeignCase] = []
    for i, base in enumerate(every):
        found += _runs(base, "tuning" if base.name in tuning else "held_out", 10_000 + i)
    for i, base in enumerate(fresh_bases()):
        found += _runs(base, "fresh", 20_000 + i)
    return sorted(found, key=lambda case: PARTS.index(case.part))


def _runs(base: Base, part: str, seed: int) -> list[ForeignCase]:
    return [
        ForeignCase(
            f"{base.name}-{fault.name}",
            part,
            base.name,
            fault.name,
            fault.kinds,
            base.steps,
            seed,
            build=partial(_build, base, fault, seed),
        )
        for fault in (Fault("none", ("healthy",)), *base.faults)
    ]


def _build(
    base: Base, fault: Fault, seed: int
) -> tuple[LightningModule, Batches, Callable[[LightningModule], float]]:
    """Build a run; it and its healthy base draw the same weights and the same data."""
    torch.manual_seed(seed)
    net = base.net()
    if fault.change is not None:
        fault.change(net)
    module: LightningModule
    if isinstance(net, Generative):
        module = Adversaries(net, base, fault.lr)
    else:
        module = Stranger(net, base, fault.lr)

    def score(trained: LightningModule) -> float:
        torch.manual_seed(seed)  # some scores draw noise
        return held_out_score(base.task, net, seed, fault.inputs)

    return module, Batches(base.task, seed, fault.blind, fault.inputs), score
