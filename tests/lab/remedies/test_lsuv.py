"""LSUV: every layer's output has variance 1 on the first batch, and nothing else changes."""

from pathlib import Path

import lightning as L
import pytest
import torch
from torch import Tensor, nn

from gradflow.errors import ConfigError
from gradflow.launch.compose import compose
from gradflow.runs.read import read_run
from lab.probe.run import probe
from lab.remedies.lsuv import LSUV, scale_layers
from project.models import ConvNet
from project.train import train

SMALL = ["data=synthetic", "data.train_images=200", "data.test_images=100", "data.validation=100"]
SMALL += ["data.batch_size=20", "model.depth=8", "model.width=4", "log_every=1", "dry_step=false"]
SMALL += ["logger=none", "trainer=cpu", "test=false", "monitor.every_n_steps=1"]


def new_net(norm: type[nn.Module] = nn.Identity, activation: type[nn.Module] = nn.ReLU) -> ConvNet:
    torch.manual_seed(0)
    return ConvNet(depth=20, width=8, skip=False, activation=activation, norm=lambda c: norm(c))


def variances(net: nn.Module, inputs: Tensor) -> list[float]:
    found: list[float] = []
    layers = [m for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    hooks = [
        it.register_forward_hook(lambda *a: found.append(float(a[2].detach().double().var())))
        for it in layers
    ]
    net(inputs)
    for hook in hooks:
        hook.remove()
    return found


@pytest.mark.parametrize("norm", [nn.Identity, nn.BatchNorm2d])
@pytest.mark.parametrize("activation", [nn.ReLU, nn.Sigmoid])
def test_each_layers_output_has_variance_1_on_the_batch(
    norm: type[nn.Module], activation: type[nn.Module]
) -> None:
    net, inputs = new_net(norm, activation), torch.randn(16, 3, 32, 32)
    buffers = {name: buffer.clone() for name, buffer in net.named_buffers()}
    assert min(variances(new_net(norm, activation), inputs)) < 0.5
    state = torch.get_rng_state()
    scale_layers(net, inputs)
    assert torch.equal(torch.get_rng_state(), state)
    for name, buffer in net.named_buffers():
        assert torch.equal(buffer, buffers[name])
    found = variances(net, inputs)
    assert len(found) == 20
    assert found == pytest.approx([1.0] * 20, rel=1e-3)


def test_a_layer_that_is_used_twice_is_scaled_once_and_a_constant_one_not_at_all() -> None:
    torch.manual_seed(0)
    shared, constant = nn.Linear(5, 5), nn.Linear(5, 5)
    nn.init.zeros_(constant.weight)
    nn.init.ones_(constant.bias)
    net, inputs = nn.Sequential(shared, nn.Tanh(), shared, constant), torch.randn(50, 5)
    scale_layers(net, inputs)
    assert float(shared(inputs).detach().var()) == pytest.approx(1, rel=1e-4)
    assert torch.equal(constant.bias, torch.ones(5))


def test_a_run_starts_with_scaled_layers_and_a_resumed_one_is_not_scaled_again(
    tmp_path: Path,
) -> None:
    words = [*SMALL, "model=plain_cnn", "norm=none", "activation=tanh", "init=too_small"]
    train(compose([*words, "callbacks=lsuv", "steps=4"]), tmp_path / "whole")
    train(compose([*words, "callbacks=lsuv", "steps=2"]), tmp_path / "cut")
    train(compose([*words, "callbacks=lsuv", "steps=4"]), tmp_path / "cut")
    whole, cut = (read_run(tmp_path / name) for name in ("whole", "cut"))
    first = whole.flows()[0].pre_activation
    assert abs(first).max() < 0.3  # log10 RMS of z
    a, b = (
        torch.load(tmp_path / name / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
        for name in ("whole", "cut")
    )
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert [flow.step for flow in cut.flows()] == [0, 1, 2, 3]


def test_the_probe_measures_the_scaled_net_and_predicts_nothing(tmp_path: Path) -> None:
    words = [*SMALL, "model=plain_cnn", "norm=none", "activation=tanh", "init=too_small"]
    plain, scaled = (probe(compose([*words, it])) for it in ("callbacks=none", "callbacks=lsuv"))
    assert plain.flow.pre_activation[-1] < -1
    assert abs(scaled.flow.pre_activation[-1]) < 0.05
    assert plain.prediction is not None
    assert scaled.prediction is None
    assert scaled.no_theory == (
        "the theory needs independent weights, and LSUV scales them on the data"
    )


def test_frozen_layers_are_left_as_they_are() -> None:
    net, inputs = new_net(), torch.randn(8, 3, 32, 32)
    for parameter in net.stem.parameters():
        parameter.requires_grad_(False)
    before = net.stem.get_parameter("conv.weight").clone()
    scale_layers(net, inputs)
    assert torch.equal(net.stem.get_parameter("conv.weight"), before)
    assert variances(net, inputs)[1:] == pytest.approx([1.0] * 19, rel=1e-3)


def test_the_remedy_stands_beside_other_callbacks_whichever_comes_first() -> None:
    for words in ("callbacks=early_stopping", "callbacks=none", "callbacks=[early_stopping,lsuv]"):
        assert "lsuv" in compose(["remedy=lsuv", words]).callbacks, words


def test_a_net_without_layers_to_scale_is_refused_in_one_line() -> None:
    class Bare(L.LightningModule):
        pass

    trainer = L.Trainer(logger=False, barebones=True)
    with pytest.raises(ConfigError, match=r"^callbacks=lsuv: needs a net with convolut"):
        LSUV().on_train_batch_start(trainer, Bare(), (torch.zeros(1), torch.zeros(1)), 0)
    with pytest.raises(ConfigError, match=r"^callbacks=lsuv: needs batches of \(inputs"):
        LSUV().on_train_batch_start(trainer, Bare(), {"x": torch.zeros(1)}, 0)
