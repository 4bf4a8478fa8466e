"""What a base of the foreign suite is: a net, a task, an optimizer, and the faults it can have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from torch import nn
from torch.optim import Optimizer

from gradflow.gradients.verdict import Kind
from lab.faults.foreign.tasks import Task

STEPS = 150
Optimize: TypeAlias = Callable[[list[nn.Parameter], float], Optimizer]  # parameters, lr factor


@dataclass(frozen=True)
class Fault:
    """One change to a healthy run, and the kinds that are right for it."""

    name: str
    kinds: tuple[Kind, ...]
    lr: float = 1.0  # factor on the learning rate
    change: Callable[[nn.Module], None] | None = None  # of the net before training
    blind: bool = False  # inputs belong to other examples than targets
    inputs: float = 1.0  # factor on the inputs


@dataclass(frozen=True)
class Base:
    """A healthy run, and the faults that its sick versions have."""

    name: str
    net: Callable[[], nn.Module]
    task: Task
    optimize: Optimize
    faults: tuple[Fault, ...]
    warm_up: int = 0  # steps
    steps: int = STEPS
