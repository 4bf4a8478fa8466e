"""Every YAML file of the four groups of a net, found in the folder, builds a net that trains."""

from collections.abc import Callable
from typing import Any

import pytest
import shipped
import torch
import torch.nn.functional as F
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import nn

from gradflow.launch.instantiate import accepts
from gradflow.launch.instantiate import instantiate as offer


def choices(group: str) -> list[str]:
    found = shipped.names(group)
    assert found, f"no files of {group}"
    return found


def load(group: str, choice: str) -> Callable[..., Any]:
    # A file may refer to the net's depth.
    whole = {group: OmegaConf.load(shipped.file(group, choice)), "model": {"depth": 20}}
    config = OmegaConf.create(whole)[group]
    factory: Callable[..., Any] = instantiate(config, _partial_=True)
    return factory


def shallow(model: str) -> dict[str, int]:
    """The least depth, of the template's own nets."""
    node = shipped.read("model", model)
    return {"depth": 8} if node["_target_"] == "project.models.ConvNet" else {}


def assert_net_trains(
    *, model: str = "resnet", activation: str = "relu", norm: str = "batch", init: str = "default"
) -> None:
    torch.manual_seed(0)
    make_activation = load("activation", activation)
    node = shipped.read("model", model) | shallow(model)
    offered = {
        "activation": make_activation, "norm": load("norm", norm), "num_classes": 10,
        "in_channels": 3,
    }  # fmt: skip
    net = offer(node, key="model", offered=offered, kind=nn.Module)
    load("init", init)(net, make_activation)
    logits = net(torch.randn(4, 3, 32, 32))
    F.cross_entropy(logits, torch.arange(4)).backward()
    assert logits.shape == (4, 10)
    assert torch.isfinite(logits).all()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
    head = [module for module in net.modules() if isinstance(module, nn.Linear)][-1]
    assert torch.count_nonzero(head.weight.grad) > 0


@pytest.mark.parametrize("norm", choices("norm"))
@pytest.mark.parametrize("model", choices("model"))
def test_every_model_trains_with_every_norm_that_it_takes(model: str, norm: str) -> None:
    if norm == "batch" or accepts(shipped.read("model", model), "model", "norm"):
        assert_net_trains(model=model, norm=norm)


@pytest.mark.parametrize("activation", choices("activation"))
def test_every_activation_trains_with_the_gain_that_fits_it(activation: str) -> None:
    assert_net_trains(activation=activation, init="kaiming_normal")


@pytest.mark.parametrize("activation", choices("activation"))
@pytest.mark.parametrize("init", choices("init"))
def test_every_init_trains_with_every_activation(init: str, activation: str) -> None:
    assert_net_trains(init=init, activation=activation)


@pytest.mark.parametrize("group", ["model", "activation", "norm", "init"])
def test_every_file_opens_with_two_lines_that_say_what_it_is(group: str) -> None:
    for choice in choices(group):
        lines = (shipped.file(group, choice)).read_text(encoding="utf-8").splitlines()
        target = next(i for i, line in enumerate(lines) if line.startswith("_target_:"))
        assert 1 <= target <= 2, choice
        assert all(line.startswith("# ") for line in lines[:target]), choice


@pytest.mark.parametrize("group", ["model", "init", "norm"])
def test_files_of_one_target_state_the_same_keys(group: str) -> None:
    """So that no key of one choice survives when another is selected."""
    keys: dict[str, set[str]] = {}
    for choice in choices(group):
        config = OmegaConf.load(shipped.file(group, choice))
        stated = {str(key) for key in config}
        assert keys.setdefault(config._target_, stated) == stated, choice


def test_plain_cnn_and_resnet_differ_by_their_skip_connections_alone() -> None:
    plain, resnet = (
        OmegaConf.to_container(OmegaConf.load(shipped.file("model", name)))
        for name in ("plain_cnn", "resnet")
    )
    assert isinstance(plain, dict)
    assert isinstance(resnet, dict)
    assert plain | {"skip": True} == resnet
    assert plain["skip"] is False
