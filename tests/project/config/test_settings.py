"""Which words tell runs apart: configurations that were really composed, without training them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from gradflow.launch.compose import compose
from gradflow.runs.settings import differing, flatten, text


@dataclass
class Composed:
    """A run, as far as its settings go."""

    settings: dict[str, Any]
    overridden_keys: tuple[str, ...] = field(default=())


def composed(*overrides: str, overridden_keys: Sequence[str] = ()) -> Composed:
    config = compose(list(overrides)).model_dump()
    return Composed(flatten(config, config["axes"]), tuple(overridden_keys))


def test_a_setting_is_named_by_the_key_that_sets_it() -> None:
    settings = composed("activation=leaky_relu", "lr=0.3").settings
    assert settings["activation"] == "leaky_relu"
    assert settings["model.depth"] == 20
    assert settings["lr"] == 0.3
    assert settings["data.batch_size"] == 128
    assert not {key for key in settings if key.startswith(("logger", "study", "axes", "data.root"))}


def test_every_flat_key_can_be_set_by_an_override() -> None:
    """`compose` refuses unknown keys, so each flat key is passed back as an override."""
    settings = composed("activation=leaky_relu", "norm=group", "clip=norm").settings
    words = [
        f"{key}={text(value) if value is not None else 'null'}" for key, value in settings.items()
    ]
    words = [word for word in words if not word.startswith(("case=", "remedy=", "pathology="))]
    again = compose(words).model_dump()
    assert flatten(again, again["axes"]) == settings


def test_runs_of_a_grid_differ_in_its_axes_and_the_seed_is_left_out() -> None:
    runs = [
        composed(f"activation={a}", f"norm={n}", f"seed={s}")
        for a in ("relu", "tanh")
        for n in ("none", "batch")
        for s in (0, 1)
    ]
    assert differing(runs) == ["activation", "norm"]


def test_a_value_inside_a_group_tells_runs_apart() -> None:
    runs = [composed(f"model.depth={depth}") for depth in (20, 56)]
    assert differing(runs) == ["model.depth"]


def test_an_override_that_differs_is_returned_even_if_another_key_determines_it() -> None:
    pairs = (("relu", "0.1"), ("tanh", "0.02"))
    runs = [composed(f"activation={a}", f"lr={lr}") for a, lr in pairs]
    assert differing(runs) == ["activation"]
    keys = ("activation", "lr")
    runs = [composed(f"activation={a}", f"lr={lr}", overridden_keys=keys) for a, lr in pairs]
    assert differing(runs) == ["activation", "lr"]


def test_runs_without_a_known_setting_are_ignored() -> None:
    runs = [composed("norm=none"), composed("norm=batch"), Composed(flatten({}, {}))]
    assert differing(runs) == ["norm"]
    assert differing([]) == []


@pytest.mark.parametrize(
    ("value", "written"),
    [(0.1, "0.1"), (True, "true"), (None, "-"), (["a", 1], "[a,1]"), ("x", "x"), (1e-4, "0.0001")],
)
def test_a_value_is_written_as_in_an_override(value: Any, written: str) -> None:
    assert text(value) == written
