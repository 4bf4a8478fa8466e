"""Composition: from the words on a command line, or in a notebook, to a `Config`.

Hydra does the composing. What is added is the name of every axis' choice, since Hydra's own list
of choices has none for a list such as `remedy=[relu,batch_norm]`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from gradflow.config.errors import ConfigError, one_line
from gradflow.config.schema import AXES, Config


def compose(overrides: Sequence[str] = (), config_dir: str | Path = "conf") -> Config:
    """Compose a configuration as `scripts/train.py` would, with its overrides in a list.

    `config_dir` is the repository's conf/, relative to the working directory. ConfigError for
    whatever the command line would refuse.
    """
    GlobalHydra.instance().clear()
    try:
        with hydra.initialize_config_dir(str(Path(config_dir).resolve()), version_base="1.3"):
            composed = hydra.compose("train", list(overrides), return_hydra_config=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(one_line(error)) from error
    with open_dict(composed):
        words = composed.pop("hydra")
    # Values that only a multirun has, such as a clock's reading, stay out of a composed run.
    composed.study = None
    return from_hydra(composed, words.runtime.choices)


def from_hydra(composed: DictConfig, choices: Any = None) -> Config:
    """Check a composed config; `choices` are Hydra's own, of the running job unless given."""
    if choices is None:
        choices = HydraConfig.get().runtime.choices
    try:
        values = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise ConfigError(one_line(error)) from error
    assert isinstance(values, dict)  # the primary config is a mapping
    axes = {axis: str(choices[axis]) for axis in AXES if axis in choices}
    for axis in ("pathology", "remedy"):
        chosen = values.get(axis)
        axes[axis] = "+".join(chosen) if isinstance(chosen, dict) and chosen else "none"
    return Config.check(values | {"axes": {axis: axes[axis] for axis in AXES if axis in axes}})
