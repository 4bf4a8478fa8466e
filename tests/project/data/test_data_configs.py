"""The files of conf/data: every key is stated."""

import importlib
from pathlib import Path
from typing import Any

import pytest
import yaml
from lightning import LightningDataModule

from gradflow.launch.instantiate import parameters_of

FILES = sorted((Path(__file__).parents[3] / "conf" / "data").glob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_config_states_every_argument_and_builds(path: Path) -> None:
    config: dict[str, Any] = yaml.safe_load(path.read_text())
    module, _, name = config.pop("_target_").rpartition(".")
    kind = getattr(importlib.import_module(module), name)
    parameters = parameters_of(kind).values()
    arguments = {p.name for p in parameters} - {"seed", "channels_last"}  # which the run offers
    assert set(config) == arguments, f"{path}: must state exactly the arguments of {name}"
    assert isinstance(kind(**config), LightningDataModule)


def test_there_are_configs() -> None:
    assert {path.stem for path in FILES} >= {"cifar10", "synthetic"}
