"""The files of conf/data: every key is stated, and says what the class says."""

import importlib
from pathlib import Path
from typing import Any

import pytest
import yaml
from lightning import LightningDataModule

from gradflow.launch.instantiate import parameters_of

FILES = sorted((Path(__file__).parents[3] / "conf" / "data").glob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_config_states_every_argument_with_its_default_and_builds(path: Path) -> None:
    config: dict[str, Any] = yaml.safe_load(path.read_text())
    module, _, name = config.pop("_target_").rpartition(".")
    kind = getattr(importlib.import_module(module), name)
    parameters = parameters_of(kind).values()
    defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
    defaults = {k: list(v) if isinstance(v, tuple) else v for k, v in defaults.items()}
    for of_the_run in ("seed", "channels_last"):
        defaults.pop(of_the_run, None)
    assert config == defaults
    assert isinstance(kind(**config), LightningDataModule)


def test_there_are_configs() -> None:
    assert {path.stem for path in FILES} >= {"cifar10", "synthetic"}
