"""What the initial weights do to a deep net: exact identities, and the mean-field prediction."""

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from project.models import ConvNet
from project.models.initializers import kaiming_normal, orthogonal, xavier_normal

DEPTH = 20
STRIDES = [1] + [1] * 6 + [2] + [1] * 5 + [2] + [1] * 5  # of the 19 convolutions


def plain_net(activation: Callable[[], nn.Module] = nn.ReLU, **changes: int) -> ConvNet:
    sizes = {"depth": DEPTH, "width": 8} | changes
    return ConvNet(**sizes, skip=False, activation=activation, norm=lambda _: nn.Identity())  # type: ignore[arg-type]


@pytest.mark.parametrize("activation", [nn.ReLU, partial(nn.LeakyReLU, 0.2), nn.Identity])
@pytest.mark.parametrize("initializer", [kaiming_normal, orthogonal])
def test_the_sum_of_weight_times_gradient_is_the_same_in_every_layer(
    activation: Callable[[], nn.Module], initializer: Callable[..., None]
) -> None:
    """Without biases such a net is homogeneous of degree 1 in the weights of each layer, so that
    by Euler's theorem sum(W dL/dW) is sum(y dL/dy) over the logits y, in every layer."""
    torch.manual_seed(0)
    net = plain_net(activation).double()
    keys = {"mode": "fan_in"} if initializer is kaiming_normal else {}
    initializer(net, activation, gain=None, **keys)
    logits = net(torch.randn(4, 3, 16, 16, dtype=torch.float64))
    logits.retain_grad()
    F.cross_entropy(logits, torch.arange(4)).backward()
    assert logits.grad is not None
    expected = float((logits.detach() * logits.grad).sum())
    layers = [m for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(layers) == DEPTH
    for layer in layers:
        assert layer.weight.grad is not None
        got = float((layer.weight.detach() * layer.weight.grad).sum())
        assert got == pytest.approx(expected, rel=1e-8)


def measured_second_moments(net: ConvNet, images: Tensor) -> list[float]:
    """E[z^2] of each nonlinearity's input, from the first to the last."""
    moments: list[float] = []
    for name, module in net.named_modules():
        if name.rpartition(".")[2].startswith("activation"):
            module.register_forward_pre_hook(
                lambda _module, args: moments.append(float(args[0].double().square().mean()))
            )
    with torch.no_grad():
        net(images)
    return moments


def predicted_second_moments(sigma_w: float, side: int) -> list[float]:
    """E[z^2] of a ReLU net, from the map of variances per pixel.

    A 3x3 convolution averages the map over its window; zero padding contributes nothing at the
    border, which is why E[z^2] falls a little even where sigma_w^2 E[phi(z)^2] = E[z^2].
    """
    window = torch.full((1, 1, 3, 3), 1 / 9, dtype=torch.float64)
    second_moment = torch.ones(1, 1, side, side, dtype=torch.float64)  # of the images
    moments = []
    for stride in STRIDES:
        second_moment = sigma_w**2 * F.conv2d(second_moment, window, stride=stride, padding=1)
        moments.append(float(second_moment.mean()))
        second_moment = second_moment / 2  # E[relu(z)^2] = E[z^2] / 2
    return moments


def mean_log_second_moments(initializer: Callable[..., None]) -> Tensor:
    """log10 E[z^2] per layer, averaged over five nets."""
    logs = []
    for seed in range(5):
        torch.manual_seed(seed)
        net = plain_net(width=32)
        initializer(net, nn.ReLU)
        logs.append(torch.tensor(measured_second_moments(net, torch.randn(8, 3, 32, 32))).log10())
    return torch.stack(logs).mean(0)


@pytest.mark.parametrize("gain", [None, 0.5, 3.0], ids=["kaiming", "too_small", "too_large"])
def test_second_moments_of_a_deep_relu_net_follow_the_mean_field(gain: float | None) -> None:
    """The spread of one net's log10 is about 0.3 decades at the end, 0.14 for the mean of five;
    0.5 is 3.5 standard errors, where a gain off by sqrt(2) would show as 5.7 decades."""
    sigma_w = math.sqrt(2) if gain is None else gain
    predicted = torch.tensor(predicted_second_moments(sigma_w, side=32)).log10()
    measured = mean_log_second_moments(partial(kaiming_normal, gain=gain, mode="fan_in"))
    assert float((measured - predicted).abs().max()) < 0.5


def test_kaiming_keeps_the_second_moment_of_a_relu_net_and_xavier_halves_it_in_every_layer() -> (
    None
):
    kaiming = mean_log_second_moments(partial(kaiming_normal, gain=None, mode="fan_in"))
    xavier = mean_log_second_moments(partial(xavier_normal, gain=1.0))
    # The border costs 0.36 decades over these 19 layers.
    assert abs(float(kaiming[-1] - kaiming[0]) + 0.36) < 0.5
    # Halved 18 times, and times 2/3 at the two convolutions that double the channels, where
    # 2 / (fan_in + fan_out) is 2/3 of 1 / fan_in.
    halved = 18 * math.log10(1 / 2) + 2 * math.log10(2 / 3) - 0.36
    assert abs(float(xavier[-1] - xavier[0]) - halved) < 0.5
