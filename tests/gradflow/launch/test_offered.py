"""What a run offers is handed over by name, and what cannot be handed over is one line."""

from typing import Any

import pytest

from gradflow.errors import ConfigError
from gradflow.launch.instantiate import accepts, instantiate


class Net:
    """Takes one required and one optional argument by name."""

    def __init__(self, *, num_classes: int, activation: object = "own", width: int = 4) -> None:
        self.got = {"num_classes": num_classes, "activation": activation, "width": width}


def hidden(**options: Any) -> dict[str, Any]:
    """Take any argument, with a signature that names none."""
    return options


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make this module importable, since it belongs to no package."""
    import sys

    monkeypatch.setitem(sys.modules, "offered_targets", sys.modules[__name__])


def build(target: str, offered: dict[str, Any], **node: Any) -> Any:
    return instantiate(
        {"_target_": f"offered_targets.{target}", **node}, key="model", offered=offered
    )


def test_what_the_target_takes_is_handed_over_and_the_rest_is_not() -> None:
    net = build("Net", {"num_classes": 7, "norm": "batch"}, width=8)
    assert net.got == {"num_classes": 7, "activation": "own", "width": 8}


def test_a_value_in_the_file_wins() -> None:
    assert build("Net", {"num_classes": 7}, num_classes=3).got["num_classes"] == 3


def test_a_mapped_name_reaches_a_target_whose_signature_hides_it() -> None:
    given = {"in_chans": "in_channels"}
    assert build("hidden", {"in_channels": 1, "num_classes": 7}, _given_=given) == {"in_chans": 1}


def test_what_is_unknown_is_left_out_where_the_target_has_its_own() -> None:
    assert build("Net", {"num_classes": 7, "activation": None}).got["activation"] == "own"


@pytest.mark.parametrize(
    ("target", "node", "line"),
    [
        ("Net", {}, "needs num_classes, which is not known; set model.num_classes"),
        ("hidden", {"_given_": {"k": "num_classes"}}, "needs num_classes, which is not known"),
        ("hidden", {"_given_": {"k": "colour"}}, "offered are num_classes"),
    ],
)
def test_what_cannot_be_handed_over_is_one_line(
    target: str, node: dict[str, Any], line: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        build(target, {"num_classes": None}, **node)
    assert line in str(refused.value)
    assert "\n" not in str(refused.value)


def test_something_of_another_kind_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^model\._target_=builtins\.dict: must be a list$"):
        instantiate({"_target_": "builtins.dict"}, key="model", kind=list)


def test_a_target_accepts_its_parameters_and_what_its_file_maps() -> None:
    net = {"_target_": "offered_targets.Net"}
    assert accepts(net, "model", "activation")
    assert not accepts(net, "model", "norm")
    mapped = {"_target_": "offered_targets.hidden", "_given_": {"act": "activation"}}
    assert accepts(mapped, "model", "activation")
