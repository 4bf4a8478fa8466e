"""The band holds fresh initializations, and its shift is that of a log-normal square."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lab.theory.band import IMAGES, band, ends, shift

BATCH = 32


class Small(nn.Module):
    """Two convolutions, one nonlinearity, a head."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.activation = nn.Tanh()
        self.head = nn.Linear(4, 10)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.activation(self.conv(x)).mean(dim=(2, 3)))
        return logits


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    source = torch.Generator().manual_seed(3)
    images = torch.randn(BATCH, 3, 8, 8, generator=source)
    return images, torch.randint(10, (BATCH,), generator=source)


def test_a_profile_is_that_of_the_first_images_under_the_whole_batchs_loss(
    batch: tuple[Tensor, Tensor],
) -> None:
    images, labels = batch
    found = band(Small, images, labels, range(5, 7))
    for row, seed in enumerate((5, 6)):
        torch.manual_seed(seed)
        net = Small()
        z = net.conv(images)
        logits = net.head(net.activation(z).mean(dim=(2, 3)))
        (gradient,) = torch.autograd.grad(F.cross_entropy(logits, labels), z)
        for measured, expected in (
            (found.pre_activation[row, 0], z[:IMAGES]),
            (found.gradient[row, 0], gradient[:IMAGES]),
        ):
            assert measured == pytest.approx(
                math.log10(expected.detach().square().mean() ** 0.5), abs=1e-5
            )


def test_measuring_leaves_the_random_state_as_it_was(batch: tuple[Tensor, Tensor]) -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    band(Small, *batch, range(2))
    assert torch.equal(torch.rand(3), expected)


def test_the_ends_are_the_least_and_the_largest_of_each_layer() -> None:
    profiles = np.array([[1.0, -2.0], [0.5, -1.0], [3.0, -1.5]])
    assert ends(profiles).tolist() == [[0.5, -2.0], [3.0, -1.0]]


@pytest.mark.parametrize("sigma", [0.3, 1.0, 1.5])
def test_the_shift_takes_a_log_normal_squares_mean_to_the_mean_of_its_logarithm(
    sigma: float,
) -> None:
    squares = np.random.default_rng(0).lognormal(mean=0.7, sigma=sigma, size=400_000)
    line = 0.5 * math.log10(squares.mean())
    profiles = 0.5 * np.log10(squares)[:, None]
    assert line + shift(profiles)[0] == pytest.approx(profiles.mean(), abs=0.01)


def test_the_band_of_nineteen_holds_nine_tenths_of_further_nets(
    batch: tuple[Tensor, Tensor],
) -> None:
    found = band(Small, *batch, range(400)).gradient[:, 0]
    inside = []
    for start in range(0, 400, 20):
        low, high = ends(found[start : start + 19, None])
        inside.append(low[0] <= found[start + 19] <= high[0])
    assert sum(inside) >= 15  # of 20, with a probability of 0.99 where 0.9 is right
