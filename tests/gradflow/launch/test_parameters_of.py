"""Which arguments a class takes, where its constructor hands typed ones on to its base."""

import functools
from typing import Any, TypedDict, Unpack

import pytest

from gradflow.launch.instantiate import parameters_of


class Options(TypedDict, total=False):
    size: int
    seed: int


class Base:
    def __init__(self, *, count: int, size: int = 1, seed: int = 0) -> None:
        self.given = count, size, seed


class Typed(Base):
    def __init__(self, *, root: str = "data", **options: Unpack[Options]) -> None:
        super().__init__(count=3, **options)


class Again(Typed):
    """Without a constructor."""


class Mixin:
    pass


class Mixed(Mixin, Typed):
    def __init__(self, *, own: int = 1, **options: Unpack[Options]) -> None:
        super().__init__(**options)


class Untyped(Base):
    def __init__(self, **more: Any) -> None:
        super().__init__(count=3, **more)


@pytest.mark.parametrize(
    ("target", "names"),
    [
        (Base, {"count", "size", "seed"}),
        (Typed, {"root", "size", "seed"}),  # not count, which it gives itself
        (Again, {"root", "size", "seed"}),
        (Mixed, {"own", "size", "seed"}),
        (Untyped, {"more"}),
        (functools.partial(Typed, root="x"), {"root", "options"}),
    ],
)
def test_the_arguments_of_a_base_are_those_that_the_typed_dictionary_names(
    target: Any, names: set[str]
) -> None:
    assert set(parameters_of(target)) == names


def test_defaults_are_those_of_the_base() -> None:
    assert parameters_of(Typed)["size"].default == 1
    assert Typed(size=5, seed=2).given == (3, 5, 2)
