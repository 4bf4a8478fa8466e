"""The configuration of one run: its keys, their types and their ranges.

Axes whose value is a `_target_` (an activation, an optimizer …) are open: what they take is known
by the class itself, which checks its own arguments. Everything else is closed: an unknown key is an
error. This file knows no axis value by name.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from gradflow.errors import ConfigError

# The groups of conf/, in the order in which a run is described.
AXES = (
    "pathology",
    "remedy",
    "model",
    "activation",
    "norm",
    "init",
    "clip",
    "optimizer",
    "scheduler",
    "data",
    "trainer",
    "logger",
    "monitor",
    "callbacks",
)

Positive = Annotated[int, Field(ge=1)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Node = dict[str, Any]  # a `_target_` and its arguments


STUDY_NAME = r"\w[\w.+=,-]*"


def study_name_refusal(name: str) -> str:
    """Say what a study may be called: its name is that of a folder, and of a W&B group."""
    return f"study.name={name}: must be letters, digits and . + = , - _, a letter or digit first"


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, protected_namespaces=())


class Trainer(_Closed):
    """Where a run is computed, in Lightning's words."""

    accelerator: str
    devices: int | Literal["auto"]
    num_nodes: Positive
    strategy: str


class Logger(_Closed):
    """What reaches Weights & Biases, and how. The run folder's own files are always written."""

    mode: Literal["online", "offline", "none"]
    project: str
    entity: str | None
    tags: list[str]


class Study(_Closed):
    """The multirun that a run belongs to."""

    name: str

    @field_validator("name")
    @classmethod
    def _names_one_folder(cls, name: str) -> str:
        if not re.fullmatch(STUDY_NAME, name):
            raise ValueError(study_name_refusal(name))
        return name


class Config(_Closed):
    """One run, as conf/run.yaml and the axes compose it. See those files for what each key does."""

    project: str  # import path of the Project that builds and trains the run
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    steps: Positive
    lr: PositiveFloat
    lr_scale: PositiveFloat
    accumulate: Positive
    precision: Literal["32-true", "bf16-mixed", "16-mixed", "64-true"]
    channels_last: bool
    compile: bool
    threads: Annotated[int, Field(ge=1, le=1024)] | None  # far more than that crash torch
    validate_every: Positive
    log_every: Positive
    test: bool

    model: Node
    activation: Node
    norm: Node
    init: Node
    clip: Node
    optimizer: Node
    scheduler: Node
    data: Node
    trainer: Trainer
    logger: Logger
    monitor: Node
    callbacks: dict[str, Node]

    pathology: dict[str, str]
    remedy: dict[str, str]
    case: str | None
    study: Study | None
    ignored_keys: list[str]
    axes: dict[str, str]

    def save(self, path: Path) -> None:
        """Write the configuration, every value resolved, as YAML."""
        text = yaml.safe_dump(self.model_dump(), sort_keys=False, allow_unicode=True)
        path.write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Config:
        """Read what `save` wrote. ConfigError, which names the file, if it is not that."""
        try:
            values = yaml.safe_load(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(f"{path}: {error.strerror}") from error
        except (UnicodeDecodeError, yaml.YAMLError) as error:
            raise ConfigError(f"{path}: is no YAML; remove the folder or choose another") from error
        if not isinstance(values, dict):
            raise ConfigError(f"{path}: holds no keys; remove the folder or choose another")
        try:
            return cls.check(values)
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from error

    @classmethod
    def check(cls, values: Any) -> Config:
        """Validate plain values. ConfigError names the first key that is wrong."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise ConfigError(_first(error)) from error


_PARTS: dict[str, type[BaseModel]] = {"trainer": Trainer, "logger": Logger, "study": Study}


def _first(error: ValidationError) -> str:
    """One line for the first of pydantic's errors: key, value, what is allowed."""
    first, *others = error.errors()
    # What follows a part's own key is the name of one of its allowed types.
    path = first["loc"][:2] if first["loc"][0] in _PARTS else first["loc"]
    key = ".".join(str(part) for part in path)
    if first["type"] == "missing":
        return f"{key}: is missing from the configuration"
    if first["type"] == "extra_forbidden":
        schema = _PARTS[str(path[0])] if len(path) > 1 else Config
        fields = ", ".join(name for name in schema.model_fields if name != "axes")
        return f"{key}={first['input']}: there is no such key; allowed: {fields}"
    said = [first["msg"], *(other["msg"] for other in others if other["loc"][:-1] == path)]
    wanted = " or ".join(message[0].lower() + message[1:] for message in said)
    return f"{key}={first['input']}: {wanted}"
