"""This project's configuration: its keys, their types and their ranges.

What every run has, wherever it is logged and however it is compared, is in the library's
`RunConfig`. This file knows no choice of an axis by name.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, field_validator

from gradflow.runs.config import Node, Positive, PositiveFloat, RunConfig
from gradflow.runs.places import check_place


class Config(RunConfig):
    """One run, as conf/run.yaml and the axes compose it. See those files for what each key does."""

    AXES: ClassVar[tuple[str, ...]] = (
        *("pathology", "remedy", "model", "activation", "norm", "branch", "init", "clip"),
        *("optimizer", "scheduler", "data", "task", "trainer", "logger", "monitor", "callbacks"),
    )
    SEVERAL: ClassVar[tuple[str, ...]] = ("pathology", "remedy", "callbacks")

    lr: PositiveFloat
    lr_scale: PositiveFloat
    accumulate: Positive
    channels_last: bool
    compile: bool
    validate_every: Positive
    log_every: Positive
    test: bool
    limit_batches: Positive | None
    overfit: bool
    dry_step: bool
    profiler: Literal["simple", "advanced"] | None

    freeze: list[str | int]

    model: Node
    activation: Node
    norm: Node
    # The default is for runs that are older than the axis.
    branch: Node = Field(default={"_target_": "torch.nn.Identity"})
    init: Node
    clip: Node
    optimizer: Node
    scheduler: Node
    data: Node
    task: Node
    monitor: Node
    callbacks: dict[str, Node]
    advice: dict[str, list[str]]  # what a verdict may recommend; the monitor's `remedies`

    @field_validator("data")
    @classmethod
    def _root_is_a_place(cls, data: Node) -> Node:
        if isinstance(data.get("root"), str):  # what else it is, the data says
            check_place("data.root", data["root"])
        return data
