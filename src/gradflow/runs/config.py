"""The part of a run's configuration that the library reads; a project's own type extends it.

Nodes with a `_target_` (a net, an optimizer …) are open: what they take is known by the class
itself, which checks its own arguments. Everything else is closed: an unknown key is an error.
"""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, field_validator

from gradflow.errors import ConfigError
from gradflow.gradients.whole import write_text

Positive = Annotated[int, Field(ge=1)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
T = TypeVar("T")
Node = dict[str, Any]  # a `_target_` and its arguments

STUDY_NAME = r"\w[\w.+=,-]*"


def study_name_refusal(name: str) -> str:
    """Say what a study may be called: its name is that of a folder, and of a W&B group."""
    return f"study.name={name}: must be letters, digits and . + = , - _, a letter or digit first"


class Closed(BaseModel):
    """Keys with types and ranges; no others are allowed."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, protected_namespaces=())


class Trainer(Closed):
    """Where a run is computed, in Lightning's words."""

    accelerator: str
    devices: int | Literal["auto"]
    num_nodes: Positive
    strategy: str


class Logger(Closed):
    """What reaches Weights & Biases, and how. The run folder's own files are always written."""

    mode: Literal["online", "offline", "none"]
    project: str
    entity: str | None
    tags: list[str]


class Study(Closed):
    """The multirun that a run belongs to."""

    name: str

    @field_validator("name")
    @classmethod
    def _names_one_folder(cls, name: str) -> str:
        if not re.fullmatch(STUDY_NAME, name):
            raise ValueError(study_name_refusal(name))
        return name


class Headline(Closed):
    """The metric by which runs are compared: `<split>/<metric>` in the record.

    `percent` says that it is a share, which tables show in per cent.
    """

    metric: str
    direction: Literal["max", "min"]
    percent: bool


class Comparison(Closed):
    """How runs are compared: by what, without which keys, and what the page shows beside them."""

    headline: Headline
    ignored_keys: list[str]  # which change no number of a run
    overlays: list[str]  # import paths of what draws lines over the page's profiles


class RunConfig(Closed):
    """What the library reads of one run. See conf/run.yaml for what each key does."""

    # The groups of conf/ in the order in which a run is described, and those of them whose node
    # has an entry for each choice, so that several can be chosen.
    AXES: ClassVar[tuple[str, ...]] = ()
    SEVERAL: ClassVar[tuple[str, ...]] = ()

    project: str  # import path of the Project that builds and trains the run
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    steps: Positive
    precision: Literal["32-true", "bf16-mixed", "16-mixed", "64-true"]
    threads: Annotated[int, Field(ge=1, le=1024)] | None  # far more than that crash torch
    trainer: Trainer
    logger: Logger
    comparison: Comparison

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

    def save(self, path: Path) -> None:
        """Write the configuration, every value resolved, as YAML."""
        write_text(path, yaml.safe_dump(self.model_dump(), sort_keys=False, allow_unicode=True))

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote. ConfigError, which names the file, if it is not that."""
        values = read_config(path)
        try:
            return cls.check(values)
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from error

    @classmethod
    def check(cls, values: Any) -> Self:
        """Validate plain values. ConfigError names the first key that is wrong."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise ConfigError(_first(error, cls)) from error


def read_config(path: Path) -> dict[str, Any]:
    """Read a config.yaml as plain data. ConfigError, which names the file, if it holds no keys."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: is no YAML; remove the folder or choose another") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: holds no keys; remove the folder or choose another")
    return values


def import_named(path: str, kind: type[T], key: str) -> T:
    """Import what the configuration's `key` names by a path. ConfigError if that is no `kind`."""
    module, _, name = path.rpartition(".")
    try:
        found = getattr(import_module(module), name)
    except Exception as error:  # whatever the import raises
        raise ConfigError(f"{key}={path}: cannot be imported: {error}") from error
    if not isinstance(found, kind):
        raise ConfigError(f"{key}={path}: must be a {kind.__module__}.{kind.__name__}")
    return found


def _first(error: ValidationError, config: type[RunConfig]) -> str:
    """One line for the first of pydantic's errors: key, value, what is allowed."""
    first, *others = error.errors()
    path, schema = _key(first["loc"], config)
    key = ".".join(str(part) for part in path)
    if first["type"] == "missing":
        return f"{key}: is missing from the configuration"
    if first["type"] == "extra_forbidden":
        fields = ", ".join(name for name in schema.model_fields if name != "axes")
        return f"{key}={first['input']}: there is no such key; allowed: {fields}"
    if first["type"] == "value_error":  # of a check here or in the project, which names the key
        return str(first["ctx"]["error"])
    said = [first["msg"], *(other["msg"] for other in others if other["loc"][:-1] == path)]
    wanted = " or ".join(message[0].lower() + message[1:] for message in said)
    return f"{key}={first['input']}: {wanted}"


def _key(
    loc: tuple[int | str, ...], config: type[RunConfig]
) -> tuple[tuple[int | str, ...], type[BaseModel]]:
    """Return the key that pydantic's location means, and the type that has it.

    What follows in a location after a single value's key is the name of one of its allowed types.
    """
    schema: type[BaseModel] = config
    for depth, part in enumerate(loc, start=1):
        field = schema.model_fields.get(str(part))
        annotation = None if field is None else field.annotation
        inner = next(
            (option for option in (annotation, *get_args(annotation)) if _is_closed(option)), None
        )
        if inner is None:
            whole = get_origin(annotation) in (dict, list)
            return loc if whole else loc[:depth], schema
        if depth < len(loc):
            schema = inner
    return loc, schema


def _is_closed(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Closed)
