"""Find the keys in which runs differ, with pathologies and remedies among them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from gradflow.launch.compose import compose
from gradflow.runs.settings import differing, flatten


@dataclass
class Composed:
    """A run, as far as its settings go."""

    settings: dict[str, Any]
    overridden_keys: tuple[str, ...] = field(default=())


def composed(*overrides: str, overridden_keys: Sequence[str] = ()) -> Composed:
    config = compose(list(overrides)).model_dump()
    return Composed(flatten(config, config["axes"]), tuple(overridden_keys))


def test_keys_that_a_remedy_sets_are_not_repeated() -> None:
    runs = [composed("pathology=vanishing", f"remedy={r}") for r in ("none", "relu", "resnet")]
    assert differing(runs) == ["remedy"]


def test_a_case_stands_for_its_pathology_and_remedy() -> None:
    assert differing([composed(f"case={c}") for c in ("vanishing", "vanishing_relu")]) == ["case"]


def test_several_remedies_are_one_value() -> None:
    settings = composed("pathology=vanishing", "remedy=[relu,batch_norm]").settings
    assert settings["remedy"] == "relu+batch_norm"
