"""A net starts from saved weights, wherever they come from, or says in one line what misfits."""

from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from torch import nn

from gradflow.errors import ConfigError
from gradflow.training.fine_tuning import freeze, load_weights


def net(classes: int = 3) -> nn.Sequential:
    layers = {
        "body": nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5)),
        "head": nn.Linear(5, classes),
    }
    return nn.Sequential(OrderedDict(layers))


ONE = torch.ones(1)


def saved(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"state_dict": {f"net.{k}": v for k, v in state.items()} | {"a.b": ONE}},
        lambda state: {f"module.{k}": v for k, v in state.items()},
        lambda state: {f"net._orig_mod.{k}": v for k, v in state.items()},
        lambda state: {"body._orig_mod".join(k.split("body", 1)): v for k, v in state.items()},
    ],
    ids=["bare", "lightning", "a task's", "data parallel", "compiled", "compiled inside"],
)  # fmt: skip
def test_all_parameters_and_buffers_are_copied_whatever_their_prefix(
    tmp_path: Path, wrap: object
) -> None:
    there, here = net(), net()
    there(torch.randn(16, 4))  # moves the running statistics
    load_weights(here, saved(tmp_path / "file.pt", wrap(there.state_dict())))  # type: ignore[operator]
    for name, tensor in there.state_dict().items():
        assert torch.equal(here.state_dict()[name], tensor), name


def test_a_head_of_another_size_is_refused_unless_excepted_and_nothing_is_copied(
    tmp_path: Path,
) -> None:
    there, here = net(7), net(3)
    before = {name: tensor.clone() for name, tensor in here.state_dict().items()}
    file = saved(tmp_path / "file.pt", there.state_dict())
    with pytest.raises(ConfigError) as refused:
        load_weights(here, file)
    assert str(refused.value) == (
        f"weights={file}: does not fit the net: other shapes or kinds: "
        "head.weight 7x5 instead of 3x5, head.bias 7 instead of 3; "
        "weights_except=[prefix, …] leaves modules as they are initialized"
    )
    assert all(torch.equal(here.state_dict()[name], before[name]) for name in before)
    load_weights(here, file, ["head"])
    assert torch.equal(here.head.weight, before["head.weight"])
    assert torch.equal(here.body[0].weight, there.body[0].weight)


def test_names_that_only_one_side_has_are_refused(tmp_path: Path) -> None:
    state = net().state_dict()
    del state["body.0.bias"]
    state["tail.weight"] = torch.zeros(2)
    file = saved(tmp_path / "file.pt", state)
    with pytest.raises(
        ConfigError, match=r"missing: body\.0\.bias; unknown to the net: tail\.weight"
    ):
        load_weights(net(), file)
    load_weights(net(), file, ["tail", "body.0"])


@pytest.mark.parametrize("prefix", ["hea", "head.weights", "nowhere", ""])
def test_a_prefix_that_names_nothing_is_refused(tmp_path: Path, prefix: str) -> None:
    file = saved(tmp_path / "file.pt", net().state_dict())
    with pytest.raises(ConfigError, match=r"its parts are body, head$"):
        load_weights(net(), file, [prefix])
    with pytest.raises(ConfigError, match=r"its parts are body, head$"):
        freeze(net(), [prefix])


class Malicious:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("code of the file ran",)


@pytest.mark.parametrize("content", ["code", "numbers", "text", "missing", "folder", "empty"])
def test_a_file_without_weights_is_one_line_and_runs_no_code(
    tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "file.pt"
    if content == "code":
        saved(path, {"body": Malicious()})
    elif content == "numbers":
        saved(path, [1, 2])
    elif content == "text":
        path.write_text("nothing")
    elif content == "folder":
        path.mkdir()
    elif content == "empty":
        saved(path, {})
    with pytest.raises(ConfigError) as refused:
        load_weights(net(), path)
    assert str(refused.value).startswith(f"weights={path}: ")
    assert "\n" not in str(refused.value)
    assert capsys.readouterr().out == ""


def test_frozen_modules_get_no_gradient_and_others_do() -> None:
    frozen = net()
    freeze(frozen, ["body.0", "head.bias"])
    frozen(torch.randn(8, 4)).sum().backward()
    with_gradient = {name for name, p in frozen.named_parameters() if p.grad is not None}
    assert with_gradient == {"body.1.weight", "body.1.bias", "head.weight"}


def test_tied_weights_are_frozen_under_each_of_their_names() -> None:
    tied = nn.ModuleDict({"encoder": nn.Linear(4, 4), "decoder": nn.Linear(4, 4)})
    tied["decoder"].weight = tied["encoder"].weight
    freeze(tied, ["decoder"])
    assert not tied["encoder"].weight.requires_grad
    assert tied["encoder"].bias.requires_grad


def test_a_net_that_is_compiled_inside_takes_its_own_weights(tmp_path: Path) -> None:
    there, here = net(), net()
    there.body, here.body = torch.compile(there.body), torch.compile(here.body)
    load_weights(here, saved(tmp_path / "file.pt", there.state_dict()), ["head"])
    assert torch.equal(*(x.body._orig_mod[0].weight for x in (here, there)))


def test_of_two_nets_in_a_file_the_tasks_own_is_taken_or_none(tmp_path: Path) -> None:
    one, other, here = net(), net(), net()
    both = {f"net.{k}": v for k, v in one.state_dict().items()}
    both |= {f"ema.{k}": v for k, v in other.state_dict().items()}
    load_weights(here, saved(tmp_path / "file.pt", both))
    assert torch.equal(here.head.weight, one.head.weight)
    unnamed = {k.replace("net.", "t."): v for k, v in both.items()}
    with pytest.raises(ConfigError, match=r"has several nets of these names: ema\., t\."):
        load_weights(here, saved(tmp_path / "file.pt", unnamed))


def test_an_old_file_without_the_counter_of_batches_is_taken(tmp_path: Path) -> None:
    state = net().state_dict()
    del state["body.1.num_batches_tracked"]
    load_weights(net(), saved(tmp_path / "file.pt", state))


@pytest.mark.parametrize(
    "wrong", [torch.zeros(3, dtype=torch.complex64), torch.zeros(3, dtype=torch.int8), [1, 2, 3]]
)
def test_weights_of_another_kind_are_refused(tmp_path: Path, wrong: object) -> None:
    state = net().state_dict() | {"head.bias": wrong}
    with pytest.raises(ConfigError, match=r"other shapes or kinds: head\.bias"):
        load_weights(net(), saved(tmp_path / "file.pt", state))


def test_another_precision_is_converted(tmp_path: Path) -> None:
    here, there = net(), net().bfloat16()
    load_weights(here, saved(tmp_path / "file.pt", there.state_dict()))
    assert here.head.weight.dtype == torch.float32
    assert torch.equal(here.head.weight, there.head.weight.float())
