"""Compose overrides, from a command line or a list, into a checked configuration.

Hydra composes; the project defines the configuration's type.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import hydra
import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from gradflow.errors import ConfigError
from gradflow.launch.one_line import cannot_compose, one_line
from gradflow.launch.plugins import guest
from gradflow.launch.resolvers import overridden_keys, task_overrides
from gradflow.runs.config import RunConfig
from gradflow.runs.wandb_environment import with_environment
from gradflow.training.project import Project, load_project


def compose(overrides: Sequence[str] = (), config_dir: str | Path = "conf") -> Any:
    """Compose a configuration as `scripts/train.py` would, from a list of overrides.

    `config_dir` is the repository's conf/, relative to the working directory. Returns an object of
    the type that the project registers. ConfigError if the command line would refuse them.
    """
    folder = str(Path(config_dir).resolve())
    with guest():
        try:
            with hydra.initialize_config_dir(folder, version_base="1.3"):
                composed = hydra.compose("train", list(overrides), return_hydra_config=True)
        except (HydraException, OmegaConfBaseException) as error:
            raise ConfigError(one_line(error)) from error
        except Exception as error:  # Hydra raises any type, as for `model=null`
            raise ConfigError(cannot_compose(overrides, error)) from error
        with open_dict(composed):
            hydra_node = composed.pop("hydra")
        config = from_hydra(composed, project_of(composed).config, hydra_node)
    # Only a multirun has a study, whose name may contain the time.
    return config.model_copy(update={"study": None})


def project_of(composed: DictConfig) -> Project:
    """Return the project that a composed configuration names. ConfigError if it names none."""
    return load_project(str(OmegaConf.select(composed, "project")))


def from_hydra(composed: DictConfig, kind: type[RunConfig], hydra_node: Any = None) -> Any:
    """Check a composed config as a `kind`; `hydra_node` defaults to that of the running job."""
    if hydra_node is None:
        hydra_node = HydraConfig.get()
    choices = hydra_node.runtime.choices
    try:
        values = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise ConfigError(one_line(error)) from error
    assert isinstance(values, dict)  # the primary config is a mapping
    if "axes" in values:
        raise ConfigError("axes: is written by composition and cannot be set; choose each axis")
    if isinstance(values.get("logger"), dict):
        values["logger"] = with_environment(values["logger"], overridden_keys(hydra_node))
    axes = {axis: _choice(axis, values, choices, axis in kind.SEVERAL) for axis in kind.AXES}
    config = kind.check(values | {"axes": axes})
    config._chosen = _chosen_groups(hydra_node)
    return config


def _chosen_groups(hydra_node: Any) -> frozenset[str]:
    """Return the groups whose choice an override or another choice's file has selected."""
    overrides = task_overrides(hydra_node)
    chosen = overridden_keys(hydra_node)
    folders = [
        Path(source.path) for source in hydra_node.runtime.config_sources if source.schema == "file"
    ]
    # Hydra's own list of choices lacks a list such as remedy=[relu,batch_norm].
    choices = [
        *hydra_node.runtime.choices.items(),
        *(w.split("=", 1) for w in overrides if "=" in w),
    ]
    pairs = [
        (group, name)
        for group, choice in choices
        for name in str(choice).strip("[]").replace(" ", "").split(",")
    ]
    for folder, (group, name) in itertools.product(folders, pairs):
        file = folder / group / f"{name}.yaml"
        if not group.startswith("hydra/") and file.is_file():
            defaults = (yaml.safe_load(file.read_text(encoding="utf-8")) or {}).get("defaults", [])
            for entry in defaults:
                if isinstance(entry, dict):
                    (word,) = entry
                    if word.startswith("override "):
                        chosen.add(word.removeprefix("override ").lstrip("/"))
    return frozenset(chosen)


def _choice(axis: str, values: Mapping[Any, Any], choices: Mapping[str, Any], several: bool) -> str:
    """Return the choice of an axis; several choices, if the axis allows them, are joined with +.

    Hydra's own record of choices has no entry for a list such as `remedy=[relu,batch_norm]`.
    """
    if several:
        chosen = values.get(axis)
        return "+".join(map(str, chosen)) if isinstance(chosen, dict) and chosen else "none"
    if axis not in choices:
        raise ConfigError(f"{axis}: takes exactly one choice, neither a list nor none")
    return str(choices[axis])
