"""Clipping against closed forms, and adaptive clipping against timm's implementation."""

import copy
import math
from collections.abc import Callable

import pytest
import torch
from timm.utils.agc import adaptive_clip_grad
from torch import Tensor, nn

from gradflow.training.clipping import AdaptiveClip, NoClip, NormClip, ValueClip


def net_with_gradients(scale: float = 1.0) -> nn.Sequential:
    """Convolution, norm, PReLU (one parameter) and two linear layers; gradients of mixed sizes."""
    generator = torch.Generator().manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.BatchNorm2d(8),
        nn.PReLU(),
        nn.Flatten(),
        nn.Linear(32, 16),
        nn.Linear(16, 10),
    )
    for i, parameter in enumerate(net.parameters()):
        with torch.no_grad():
            parameter.normal_(generator=generator)
            sizes = 10.0 ** torch.empty(parameter.shape).uniform_(-4, 1, generator=generator)
            parameter.grad = sizes * parameter.sign() * scale * (1 + i)
    net[0].weight.data[2] = 0  # a unit whose weights start at 0
    net[0].weight.grad[3] = 0  # a unit without a gradient
    return net


def gradients(net: nn.Module) -> list[Tensor]:
    return [p.grad.double() for p in net.parameters() if p.grad is not None]


def total_norm(net: nn.Module) -> float:
    return math.sqrt(sum(g.square().sum().item() for g in gradients(net)))


def layer_ratios(net: nn.Module) -> Tensor:
    norms = torch.stack([g.norm() for g in gradients(net)])
    return norms / norms[0]


def test_no_clip_leaves_every_gradient_as_it_is() -> None:
    net = net_with_gradients(1e6)
    before = gradients(net)
    NoClip()(net)
    assert all(torch.equal(a, b) for a, b in zip(gradients(net), before, strict=True))


def test_norm_clip_multiplies_all_gradients_by_max_norm_over_norm() -> None:
    net = net_with_gradients()
    before, norm = gradients(net), total_norm(net)
    assert norm > 0.5
    NormClip(max_norm=0.5)(net)
    assert total_norm(net) == pytest.approx(0.5, rel=1e-5)
    for after, gradient in zip(gradients(net), before, strict=True):
        torch.testing.assert_close(after, gradient * 0.5 / norm, rtol=1e-5, atol=0)


@pytest.mark.parametrize(
    "clip", [NormClip(max_norm=1.0), ValueClip(0.01), AdaptiveClip(0.02, 1e-3)]
)
def test_gradients_within_the_threshold_are_left_alone(clip: Callable[[nn.Module], None]) -> None:
    net = net_with_gradients(scale=1e-9)
    before = gradients(net)
    clip(net)
    assert all(torch.equal(a, b) for a, b in zip(gradients(net), before, strict=True))


def test_value_clip_bounds_each_element_and_keeps_its_sign() -> None:
    net = net_with_gradients()
    before = gradients(net)
    ValueClip(clip_value=0.25)(net)
    for after, gradient in zip(gradients(net), before, strict=True):
        assert torch.equal(after, gradient.sign() * gradient.abs().clamp(max=0.25))


def test_norm_clipping_keeps_the_ratios_between_layers_and_the_others_change_them() -> None:
    untouched = layer_ratios(net_with_gradients())
    kept = net_with_gradients()
    NormClip(max_norm=0.1)(kept)
    torch.testing.assert_close(layer_ratios(kept), untouched, rtol=1e-5, atol=0)
    for clip in (ValueClip(clip_value=0.1), AdaptiveClip(clip_factor=0.02, eps=1e-3)):
        changed = net_with_gradients()
        clip(changed)
        assert (layer_ratios(changed) / untouched - 1).abs().max() > 0.5


@pytest.mark.parametrize(("clip_factor", "eps"), [(0.02, 1e-3), (0.5, 0.1)])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e5])
def test_adaptive_clip_equals_timm_on_all_but_the_final_linear_layer(
    clip_factor: float, eps: float, scale: float
) -> None:
    net = net_with_gradients(scale)
    expected = copy.deepcopy(net)
    for parameter, original in zip(expected.parameters(), net.parameters(), strict=True):
        parameter.grad = original.grad.clone()
    adaptive_clip_grad(list(expected.parameters())[:-2], clip_factor=clip_factor, eps=eps)
    AdaptiveClip(clip_factor, eps)(net)
    for (name, parameter), other in zip(net.named_parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, other.grad, rtol=1e-6, atol=0, msg=name)


def test_adaptive_clip_bounds_each_unit_by_its_own_weights() -> None:
    net = net_with_gradients(1e3)
    AdaptiveClip(clip_factor=0.02, eps=1e-3)(net)
    weights = net[0].weight.detach().double().flatten(1).norm(dim=1)
    ratios = net[0].weight.grad.double().flatten(1).norm(dim=1) / weights.clamp(min=1e-3)
    clipped = torch.arange(8) != 3
    torch.testing.assert_close(ratios[clipped], torch.full((7,), 0.02, dtype=torch.float64))
    assert ratios[3] == 0


def test_adaptive_clip_works_on_a_net_without_a_linear_layer() -> None:
    net = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False))
    net[0].weight.data.fill_(2.0)
    net[0].weight.grad = torch.full((1, 1, 1, 1), -7.0)
    AdaptiveClip(clip_factor=0.5, eps=1e-3)(net)
    assert net[0].weight.grad.item() == -1.0


@pytest.mark.parametrize("clip", [NormClip(1e-3), ValueClip(1e-3), AdaptiveClip(1e-3, 1e-3)])
def test_parameters_without_a_gradient_are_passed_over(clip: Callable[[nn.Module], None]) -> None:
    net = net_with_gradients()
    net[1].requires_grad_(False)
    net[1].weight.grad = net[1].bias.grad = None
    clip(net)
    assert net[1].weight.grad is None


@pytest.mark.parametrize("value", [0, -1.0, math.nan])
def test_thresholds_must_be_positive(value: float) -> None:
    cases: list[tuple[str, Callable[[], object]]] = [
        ("max_norm", lambda: NormClip(max_norm=value)),
        ("clip_value", lambda: ValueClip(clip_value=value)),
        ("clip_factor", lambda: AdaptiveClip(clip_factor=value, eps=1e-3)),
        ("eps", lambda: AdaptiveClip(clip_factor=0.02, eps=value)),
    ]
    for name, build in cases:
        with pytest.raises(ValueError, match=rf"^{name}={value}: must be > 0$"):
            build()
