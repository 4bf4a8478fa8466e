"""Batch norm in the theory: against random fields, closed forms, and nets that are measured."""

import math
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lab.probe.measure import measure
from lab.theory.batch_norm import Covariance, shrink, typical_mean
from lab.theory.layers import layers_of
from lab.theory.predict import predict
from project.models import ConvNet


@pytest.fixture(autouse=True)
def seeded() -> None:
    """The same nets in whatever order the tests run."""
    torch.manual_seed(0)


def normed_net(activation: type[nn.Module] = nn.ReLU, **changes: object) -> ConvNet:
    options = {"depth": 8, "width": 4, "skip": False, "norm": nn.BatchNorm2d} | changes
    return ConvNet(activation=activation, **options)  # type: ignore[arg-type]


def alike_images(count: int, side: int) -> Tensor:
    """Images of one smooth pattern in three colours, with a contrast of its own, and noise."""
    source = torch.Generator().manual_seed(1)
    x = torch.linspace(0, 3, side)
    pattern = torch.sin(x)[:, None] + torch.cos(2 * x)
    contrast = torch.randn(count, 1, 1, 1, generator=source)
    return contrast * pattern + 0.3 * torch.randn(count, 3, side, side, generator=source)


def test_a_random_fields_variance_shrinks_its_large_eigenvalues_as_sampled() -> None:
    """Three large eigenvalues, and a rest of 2000 small ones."""
    large, rest, small = torch.tensor([0.4, 0.25, 0.05], dtype=torch.float64), 0.3, 2000
    source = torch.Generator().manual_seed(0)
    squares = torch.randn(200_000, 3, generator=source, dtype=torch.float64).square() * large
    noise = rest * (1 + math.sqrt(2 / small) * torch.randn(200_000, generator=source))
    v = squares.sum(dim=1) + noise
    inverse, shrunk = shrink(large, rest)
    assert inverse == pytest.approx(float((1 / v).mean()), rel=0.01)
    torch.testing.assert_close(shrunk, (squares / v[:, None]).mean(dim=0), rtol=0.02, atol=0)
    assert float(shrunk.sum()) + rest * inverse == pytest.approx(1, abs=1e-6)


@torch.no_grad()
def test_what_the_first_norm_divides_by_and_leaves_is_that_of_many_channels() -> None:
    torch.manual_seed(0)
    images = alike_images(6, 9).double()
    stem = layers_of(normed_net(stem_stride=2))[0]
    squared_z, covariance, divisor = Covariance.of_images(images).normalized(stem, images.square())
    weights = torch.randn(20_000, 3, 3, 3, dtype=torch.float64) * math.sqrt(stem.second_moment)
    h = F.conv2d(images, weights, stride=2, padding=1)
    z = F.batch_norm(h, None, None, training=True, eps=1e-5)
    v = h.var(dim=(0, 2, 3), correction=0)
    assert 1 / divisor == pytest.approx(float((1 / (v + 1e-5)).mean()), rel=0.02)
    assert 1 / divisor > 1.2 / float(v.mean())  # few eigenvalues: what the test is about
    expected = z.square().mean(dim=1, keepdim=True)
    torch.testing.assert_close(squared_z, expected, rtol=0.05, atol=0.02)
    points = z.transpose(0, 1).flatten(1)
    maps = covariance.maps.transpose(0, 1).flatten(1)
    between = 1 - torch.eye(points.shape[1], dtype=torch.float64)  # different points
    sampled = between * (points.T @ points) / len(points)
    assert float((between * (maps.T @ maps) - sampled).norm()) < 0.1 * float(sampled.norm())


def test_channels_with_different_means_have_one_that_stands_for_all() -> None:
    """No part of channels that do not vary may be left after the mean is subtracted."""
    a = torch.tensor([1.0, 2.0, 0.0]).view(1, 3, 1, 1).expand(2, 3, 4, 4).double()
    torch.testing.assert_close(typical_mean(a).square(), a.square().mean(dim=1, keepdim=True))


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh, nn.Sigmoid])
def test_every_z_of_a_plain_net_has_a_mean_square_of_1(activation: type[nn.Module]) -> None:
    net = normed_net(activation)
    predicted = predict(net, alike_images(8, 16), torch.arange(8)).pre_activation
    assert predicted == pytest.approx([0.0] * 7, abs=2e-3)


def test_a_norms_eps_counts_where_the_variance_is_as_small() -> None:
    net = normed_net(width=64)
    with torch.no_grad():
        net.stem.get_submodule("conv").weight.mul_(0.005)  # type: ignore[operator]
    images = alike_images(8, 16)
    z = net.stem.get_submodule("norm")(net.stem.get_submodule("conv")(images))
    measured = math.log10(float(z.detach().square().mean().sqrt()))
    assert measured < -0.2
    predicted = predict(net, images, torch.arange(8)).pre_activation[0]
    assert predicted == pytest.approx(measured, abs=0.05)


def test_black_images_give_no_nan() -> None:
    prediction = predict(normed_net(skip=True), torch.zeros(4, 3, 8, 8), torch.arange(4))
    assert not any(math.isnan(value) for value in prediction.gradient)


def test_deep_inside_a_plain_relu_net_squared_gradients_grow_by_pi_over_pi_minus_1() -> None:
    """Yang et al. 2019, for points without correlation: noise images, and no border."""
    net = normed_net(depth=20, padding="circular")
    images = torch.randn(64, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    gradient = predict(net, images, torch.arange(64) % 10).gradient
    growth = -np.diff(gradient[1:7])
    expected = 0.5 * math.log10(math.pi / (math.pi - 1))
    np.testing.assert_allclose(growth, expected, rtol=0.06)


@pytest.mark.parametrize("skip", [False, True])
def test_a_linear_net_neither_grows_nor_shrinks_where_nothing_is_correlated(skip: bool) -> None:
    """E[phi'^2] = Var[phi]: a plain net's gradient stays, and a ResNet's grows by the additions."""
    net = normed_net(partial(nn.LeakyReLU, 1.0), depth=20, padding="circular", skip=skip)  # type: ignore[arg-type]
    images = torch.randn(64, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    prediction = predict(net, images, torch.arange(64) % 10)
    if not skip:
        np.testing.assert_allclose(np.diff(prediction.gradient[1:7]), 0, atol=0.01)
    else:  # z of the stem and of block n: 1 and 1 + n; the gradient grows by 1 + 1 / n at each
        z = np.array(prediction.pre_activation)
        np.testing.assert_allclose(10 ** (2 * z[[0, 2, 4, 6]]), [1, 2, 3, 4], rtol=0.01)
        growth = 10 ** (-2 * np.diff(np.array(prediction.gradient)[[0, 2, 4, 6]]))
        np.testing.assert_allclose(growth, [2, 3 / 2, 4 / 3], rtol=0.04)


@pytest.mark.parametrize(
    ("activation", "bound"), [(nn.Tanh, 0.05), (nn.ReLU, 0.12), (nn.Sigmoid, 0.1)]
)
@pytest.mark.parametrize("skip", [False, True])
def test_wide_nets_are_as_predicted_on_images_that_are_alike(
    activation: type[nn.Module], bound: float, skip: bool
) -> None:
    """Mean over 3 nets of 20 layers and 32 to 128 channels, absolute level included."""
    images, labels = alike_images(24, 12), torch.arange(24) % 10
    errors = []
    for seed in range(3):
        torch.manual_seed(seed)
        net = normed_net(activation, width=32, depth=20, skip=skip)
        for conv in (m for m in net.modules() if isinstance(m, nn.Conv2d)):
            nn.init.kaiming_normal_(conv.weight)
        prediction, flow = predict(net, images, labels), measure(net, images, labels)
        z = np.array(prediction.pre_activation) - flow.pre_activation[:-1]
        errors.append(np.concatenate([z, prediction.gradient - flow.gradient]))
    assert np.abs(np.mean(errors, axis=0)).max() < bound


def test_a_shortcut_into_more_channels_adds_its_covariance_to_its_share_of_them() -> None:
    generator = torch.Generator().manual_seed(0)
    own, around = (
        Covariance(
            torch.randn(3, 2, size, size, generator=generator, dtype=torch.float64),
            torch.zeros(3, 1, size, size, dtype=torch.float64),
        )
        for size in (2, 4)
    )

    def products(maps: torch.Tensor) -> torch.Tensor:
        flat = maps.transpose(0, 1).flatten(1)
        return flat.T @ flat

    sum_of_both = own.plus(around, 2, 0.5).maps
    seen = around.maps[:, :, ::2, ::2]
    expected = products(own.maps) + 0.5 * products(seen)
    torch.testing.assert_close(products(sum_of_both), expected, rtol=1e-6, atol=1e-9)
