"""Composition: from the words on a command line, or in a notebook, to a `Config`.

Hydra does the composing. What is added is the name of every axis' choice, since Hydra's own list
of choices has none for a list such as `remedy=[relu,batch_norm]`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from gradflow.errors import ConfigError, one_line
from gradflow.launch.plugins import register
from project.config import AXES, Config

register()

# The axes whose nodes have one entry for each choice, so that lists of choices can be told.
_SEVERAL = ("pathology", "remedy", "callbacks")


def compose(overrides: Sequence[str] = (), config_dir: str | Path = "conf") -> Config:
    """Compose a configuration as `scripts/train.py` would, with its overrides in a list.

    `config_dir` is the repository's conf/, relative to the working directory. ConfigError for
    whatever the command line would refuse.
    """
    GlobalHydra.instance().clear()
    try:
        with hydra.initialize_config_dir(str(Path(config_dir).resolve()), version_base="1.3"):
            composed = hydra.compose("train", list(overrides), return_hydra_config=True)
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise ConfigError(one_line(error)) from error  # ValueError: Hydra's for `model=null`
    with open_dict(composed):
        words = composed.pop("hydra")
    # A multirun alone has a study, whose name may be a clock's reading.
    return from_hydra(composed, words.runtime.choices).model_copy(update={"study": None})


def from_hydra(composed: DictConfig, choices: Any = None) -> Config:
    """Check a composed config; `choices` are Hydra's own, of the running job unless given."""
    if choices is None:
        choices = HydraConfig.get().runtime.choices
    try:
        values = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise ConfigError(one_line(error)) from error
    assert isinstance(values, dict)  # the primary config is a mapping
    if "axes" in values:
        raise ConfigError("axes: is written by composition and cannot be set; choose each axis")
    return Config.check(values | {"axes": {axis: _choice(axis, values, choices) for axis in AXES}})


def _choice(axis: str, values: Mapping[Any, Any], choices: Mapping[str, Any]) -> str:
    """Name what was chosen for an axis; several choices, where an axis allows them, with a +."""
    if axis in _SEVERAL:
        chosen = values.get(axis)
        if axis == "pathology" and isinstance(chosen, dict) and len(chosen) > 1:
            raise ConfigError(f"pathology=[{','.join(chosen)}]: takes one choice, and no list")
        return "+".join(chosen) if isinstance(chosen, dict) and chosen else "none"
    if axis not in choices:
        raise ConfigError(f"{axis}: takes one choice, and neither a list nor none at all")
    return str(choices[axis])
