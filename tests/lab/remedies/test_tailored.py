"""The tailored Leaky-ReLU against sampled correlations and wide nets."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lab.remedies.tailored import last_correlation, leaky_relu


@pytest.mark.parametrize("slope", [0.0, 0.2, 0.7])
def test_the_correlation_after_a_layer_is_that_of_sampled_pairs(slope: float) -> None:
    generator = torch.Generator().manual_seed(0)
    phi, c = nn.LeakyReLU(slope), 0.0
    for layers in (1, 2, 3):
        a, b = torch.randn(2, 1_000_000, generator=generator, dtype=torch.float64)
        x, y = phi(a), phi(c * a + math.sqrt(1 - c * c) * b)
        c = float((x * y).mean() / (x.square().mean() * y.square().mean()).sqrt())
        assert last_correlation(slope, layers) == pytest.approx(c, abs=5e-3)


@pytest.mark.parametrize("depth", [20, 32])
def test_unrelated_inputs_leave_a_wide_net_with_the_correlation_that_was_asked_for(
    depth: int,
) -> None:
    phi, width = leaky_relu(depth=depth, correlation=0.9), 1000
    cosines = []
    for seed in range(5):
        torch.manual_seed(seed)
        x = torch.linalg.qr(torch.randn(width, 2))[0].T * math.sqrt(width)  # (2, width), orthogonal
        for _ in range(depth - 1):
            x = phi(x @ torch.randn(width, width).T / math.sqrt(width))
        cosines.append(float(F.cosine_similarity(x[0], x[1], dim=0)))
    assert sum(cosines) / 5 == pytest.approx(0.9, abs=0.02)
    assert last_correlation(0.0, depth - 1) > 0.94  # a ReLU's


def test_a_deeper_net_gets_a_slope_nearer_to_1_and_a_shallow_one_stays_a_relu() -> None:
    slopes = [leaky_relu(depth=d, correlation=0.9).negative_slope for d in (8, 20, 56, 110, 1004)]
    assert slopes[0] == 0
    assert slopes == sorted(slopes)
    assert slopes[-1] < 1


@pytest.mark.parametrize(
    ("depth", "correlation", "message"),
    [
        (1, 0.9, "depth must be at least 2, got 1"),
        (20, 1.0, "correlation must be between 0 and 1, got 1.0"),
        (20, 0.0, "correlation must be between 0 and 1, got 0.0"),
    ],
)
def test_what_cannot_be_solved_is_a_value_error(
    depth: int, correlation: float, message: str
) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        leaky_relu(depth=depth, correlation=correlation)
