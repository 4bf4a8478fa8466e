"""Which words tell runs apart, where pathologies and remedies are among them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from gradflow.launch.compose import compose
from gradflow.runs.settings import differing, flatten


@dataclass
class Composed:
    """A run, as far as its settings go."""

    settings: dict[str, Any]
    typed: tuple[str, ...] = field(default=())


def composed(*words: str, typed: Sequence[str] = ()) -> Composed:
    config = compose(list(words)).model_dump()
    return Composed(flatten(config, config["axes"]), tuple(typed))


def test_what_a_remedy_brings_along_is_no_further_word() -> None:
    runs = [composed("pathology=vanishing", f"remedy={r}") for r in ("none", "relu", "resnet")]
    assert differing(runs) == ["remedy"]


def test_a_case_stands_for_its_pathology_and_remedy() -> None:
    assert differing([composed(f"case={c}") for c in ("vanishing", "vanishing_relu")]) == ["case"]


def test_several_remedies_are_one_word() -> None:
    settings = composed("pathology=vanishing", "remedy=[relu,batch_norm]").settings
    assert settings["remedy"] == "relu+batch_norm"
