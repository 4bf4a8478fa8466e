"""The part of a run's configuration that the library reads; a project's own type extends it.

Nodes with a `_target_` (a net, an optimizer …) are open: the class that a node names checks its
arguments. Everything else is closed: an unknown key is an error.
"""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar, get_args, get_origin

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    field_validator,
    model_validator,
)

from gradflow.errors import ConfigError
from gradflow.gradients.atomic import write_text
from gradflow.runs.plain_yaml import plain_yaml

# What counters of 32 bits and single precision hold: no run comes near.
Positive = Annotated[int, Field(ge=1, lt=2**31)]
PositiveFloat = Annotated[float, Field(gt=0, le=1e30, allow_inf_nan=False)]
_Count = Annotated[int, Field(ge=1, le=4096)]  # of processes, each of which is started
T = TypeVar("T")
Node = dict[str, Any]  # a `_target_` and its arguments

STUDY_NAME = r"\w[\w.+=,-]{,127}"


def study_name_refusal(name: str) -> str:
    """Return the error for a bad study name; the name also names a folder and a W&B group."""
    return (
        f"study.name={name}: must be at most 128 letters, digits and . + = , - _, "
        "a letter or digit first"
    )


class Closed(BaseModel):
    """Keys with types and ranges; no others are allowed."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, protected_namespaces=())

    @classmethod
    def check(cls, values: Any, node: str = "") -> Self:
        """Validate the plain values of `node`. ConfigError names the first invalid key."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise ConfigError(_first(error, cls, node)) from error


class Trainer(Closed):
    """The arguments of Lightning's Trainer for a run's hardware."""

    accelerator: str
    devices: Literal[-1] | _Count | Literal["auto"]  # -1: all
    num_nodes: _Count
    strategy: str


class Logger(Closed):
    """How a run is logged to Weights & Biases. The run folder's own files are always written."""

    mode: Literal["online", "offline", "none"]
    project: str
    entity: str | None
    tags: list[str]

    @field_validator("project")
    @classmethod
    def _names_a_project(cls, project: str) -> str:
        if not 0 < len(project) <= 128 or set(project) & set("/\\#?%:"):
            raise ValueError(
                f"logger.project={project}: must have 1 to 128 characters, "
                "none of them / \\ # ? % :"
            )
        return project

    @field_validator("tags")
    @classmethod
    def _are_tags(cls, tags: list[str]) -> list[str]:
        for tag in tags:
            if not 0 < len(tag) <= 64:
                raise ValueError(f"logger.tags: {tag!r} must have 1 to 64 characters")
        return tags


class CheckpointTimes(Closed):
    """How often a run saves `last.ckpt` besides after each validation; None: not for this reason.

    A killed run repeats what it did since then.
    """

    every_minutes: PositiveFloat | None = 2.0
    every_n_steps: Positive | None = None


class Study(Closed):
    """The multirun that a run belongs to."""

    name: Annotated[str, BeforeValidator(lambda x: str(x) if type(x) in (int, float) else x)]
    note: str | None = None  # a sentence of the user's, for the table, the page and W&B

    @field_validator("name")
    @classmethod
    def _names_one_folder(cls, name: str) -> str:
        if not re.fullmatch(STUDY_NAME, name):
            raise ValueError(study_name_refusal(name))
        return name


class Headline(Closed):
    """The metric by which runs are compared: `<split>/<metric>` in the record.

    With `percent`, the metric is a share, which tables show in per cent.
    """

    metric: str
    direction: Literal["max", "min"]
    percent: bool


class Comparison(Closed):
    """How runs are compared: the headline metric, the ignored keys, and the page's overlays."""

    headline: Headline
    ignored_keys: list[str]  # keys that change no number of a run
    # Settings of the runs that others are compared with.
    baseline: dict[str, str | int | float | bool] = {}
    overlays: list[str]  # import paths; an overlay draws lines over the page's profiles
    figures: list[str] = []  # import paths of figures over a study, on its page and as files


class RunConfig(Closed):
    """The keys of a run's configuration that the library reads. conf/run.yaml explains each."""

    # AXES: groups of conf/, in the order in which they describe a run. SEVERAL: those that allow
    # several choices at once; their node has one entry for each choice.
    AXES: ClassVar[tuple[str, ...]] = ()
    SEVERAL: ClassVar[tuple[str, ...]] = ()

    project: str  # import path of the Project that builds and trains the run
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    steps: Positive
    precision: Literal["32-true", "bf16-mixed", "16-mixed", "64-true"]
    threads: Annotated[int, Field(ge=1, le=1024)] | None  # far more than that crash torch
    checkpoint: CheckpointTimes = CheckpointTimes()
    trainer: Trainer
    logger: Logger
    comparison: Comparison
    weights: str | None = None
    weights_except: list[str | int] = []
    rerun: Literal["never", "changed"] = "never"
    fail_fast: bool = False
    jobs_per_gpu: Positive = 1

    # Axes that an override, a pathology or a remedy has chosen, rather than the defaults list.
    _chosen: frozenset[str] = PrivateAttr(frozenset())

    pathology: dict[str, str] = {}
    remedy: dict[str, str] = {}
    case: str | None = None
    study: Study | None
    axes: dict[str, str]

    def chose(self, axis: str) -> bool:
        """Whether an axis was chosen, by hand or through another choice; unknown once saved."""
        return axis in self._chosen

    @field_validator("pathology")
    @classmethod
    def _is_one(cls, chosen: dict[str, str]) -> dict[str, str]:
        if len(chosen) > 1:
            raise ValueError(f"pathology=[{','.join(chosen)}]: takes one choice, and no list")
        return chosen

    @model_validator(mode="after")
    def _exceptions_have_weights(self) -> Self:
        if self.weights_except and self.weights is None:
            raise ValueError(f"weights_except={self.weights_except}: has no effect without weights")
        return self

    def without_weights(self) -> Self:
        """Return a copy that begins with no saved weights: a checkpoint will bring them."""
        return self.model_copy(update={"weights": None, "weights_except": []})

    def save(self, path: Path) -> None:
        """Write the configuration, every value resolved, as YAML."""
        write_text(path, yaml.safe_dump(self.model_dump(), sort_keys=False, allow_unicode=True))

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a file that `save` wrote. ConfigError, which names the file, if it is invalid."""
        values = read_config(path)
        try:
            return cls.check(values)
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from error


def read_config(path: Path) -> dict[str, Any]:
    """Read a config.yaml as plain data. ConfigError if it cannot be read or holds no keys."""
    try:
        values = plain_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except ValueError as error:  # of decoding, too
        raise ConfigError(f"{path}: is not YAML; remove the folder or choose another") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: holds no keys; remove the folder or choose another")
    return values


def import_named(path: str, kind: type[T], key: str) -> T:
    """Import the object at `path`, the value of `key`. ConfigError if it fails or is no `kind`."""
    module, _, name = path.rpartition(".")
    try:
        found = getattr(import_module(module), name)
    except Exception as error:  # the imported code may raise anything
        raise ConfigError(f"{key}={path}: cannot be imported: {error}") from error
    if not isinstance(found, kind):
        raise ConfigError(f"{key}={path}: must be a {kind.__module__}.{kind.__name__}")
    return found


def _first(error: ValidationError, config: type[BaseModel], node: str) -> str:
    """Return one line for the first of pydantic's errors: key, value, what is allowed."""
    first, *others = error.errors()
    path, schema = _key(first["loc"], config)
    key = ".".join(str(part) for part in ((node, *path) if node else path))
    if first["type"] == "missing":
        return f"{key}: is missing from the configuration"
    if first["type"] == "extra_forbidden":
        fields = ", ".join(name for name in schema.model_fields if name != "axes")
        return f"{key}={first['input']}: there is no such key; allowed: {fields}"
    if first["type"] == "value_error":  # from a validator, whose message names the key
        return str(first["ctx"]["error"])
    messages = [first["msg"], *(other["msg"] for other in others if other["loc"][:-1] == path)]
    wanted = " or ".join(message[0].lower() + message[1:] for message in messages)
    return f"{key}={first['input']}: {wanted}"


def _key(
    loc: tuple[int | str, ...], config: type[BaseModel]
) -> tuple[tuple[int | str, ...], type[BaseModel]]:
    """Return the key that pydantic's location means, and the model that declares it.

    After the key of a single value, a location goes on with the name of one of the allowed types.
    """
    schema: type[BaseModel] = config
    for depth, part in enumerate(loc, start=1):
        field = schema.model_fields.get(str(part))
        annotation = None if field is None else field.annotation
        inner = next(
            (option for option in (annotation, *get_args(annotation)) if _is_closed(option)), None
        )
        if inner is None:
            is_container = get_origin(annotation) in (dict, list)
            return loc if is_container else loc[:depth], schema
        if depth < len(loc):
            schema = inner
    return loc, schema


def _is_closed(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Closed)
