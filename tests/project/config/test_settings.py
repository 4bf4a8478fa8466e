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
    typed: tuple[str, ...] = field(default=())


def composed(*words: str, typed: Sequence[str] = ()) -> Composed:
    config = compose(list(words)).model_dump()
    return Composed(flatten(config, config["axes"]), tuple(typed))


def test_a_setting_has_the_word_that_sets_it() -> None:
    settings = composed("activation=leaky_relu", "lr=0.3").settings
    assert settings["activation"] == "leaky_relu"
    assert settings["model.depth"] == 20
    assert settings["lr"] == 0.3
    assert settings["data.batch_size"] == 128
    assert not {key for key in settings if key.startswith(("logger", "study", "axes", "data.root"))}


def test_every_word_but_the_axes_sets_what_it_stands_for() -> None:
    """`compose` refuses words that there are not: each flat one is typed back."""
    settings = composed("activation=leaky_relu", "norm=group", "clip=norm").settings
    words = [
        f"{key}={text(value) if value is not None else 'null'}" for key, value in settings.items()
    ]
    words = [word for word in words if not word.startswith(("case=", "remedy=", "pathology="))]
    again = compose(words).model_dump()
    assert flatten(again, again["axes"]) == settings


def test_each_axis_of_a_grid_is_a_word_and_the_seed_is_none() -> None:
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


def test_a_word_that_was_typed_is_named_even_where_another_decides_it() -> None:
    pairs = (("relu", "0.1"), ("tanh", "0.02"))
    runs = [composed(f"activation={a}", f"lr={lr}") for a, lr in pairs]
    assert differing(runs) == ["activation"]
    typed = [composed(f"activation={a}", f"lr={lr}", typed=("activation", "lr")) for a, lr in pairs]
    assert differing(typed) == ["activation", "lr"]


def test_runs_of_which_nothing_is_known_add_no_words() -> None:
    runs = [composed("norm=none"), composed("norm=batch"), Composed(flatten({}, {}))]
    assert differing(runs) == ["norm"]
    assert differing([]) == []


@pytest.mark.parametrize(
    ("value", "typed"),
    [(0.1, "0.1"), (True, "true"), (None, "-"), (["a", 1], "[a,1]"), ("x", "x"), (1e-4, "0.0001")],
)
def test_a_value_is_written_as_it_is_typed(value: Any, typed: str) -> None:
    assert text(value) == typed
