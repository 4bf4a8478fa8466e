"""Gains against closed forms and against scipy's adaptive quadrature of the same definition."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.special import erf, expit
from scipy.stats import norm
from torch import nn

from gradflow.gradients.gains import gain_for, gaussian_mean

# Klambauer et al. 2017, appendix.
SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772


def from_definition(phi: Callable[[float], float]) -> float:
    """1 / sqrt(E[phi(z)^2]), integrated piece by piece between the kinks at -1, 0 and 1."""
    pieces = ((-12, -1), (-1, 0), (0, 1), (1, 12))
    moment = sum(
        quad(lambda z: phi(z) ** 2 * norm.pdf(z), *piece, epsabs=1e-13, epsrel=1e-12)[0]
        for piece in pieces
    )
    return 1 / math.sqrt(moment)


@pytest.mark.parametrize(
    ("activation", "phi"),
    [
        (nn.ELU(), lambda z: z if z > 0 else math.expm1(z)),
        (nn.ELU(alpha=0.5), lambda z: z if z > 0 else 0.5 * math.expm1(z)),
        (nn.GELU(), lambda z: z * norm.cdf(z)),
        (nn.SiLU(), lambda z: z * expit(z)),
        (nn.Mish(), lambda z: z * math.tanh(math.log1p(math.exp(z)))),
        (nn.Softplus(), lambda z: math.log1p(math.exp(z))),
        (nn.Hardtanh(), lambda z: min(1.0, max(-1.0, z))),
        (nn.Softsign(), lambda z: z / (1 + abs(z))),
        # The rectifiers and the self-normalizing net, whose gains are not integrated.
        (nn.ReLU(), lambda z: max(0.0, z)),
        (nn.LeakyReLU(0.2), lambda z: z if z > 0 else 0.2 * z),
        (nn.PReLU(init=0.25), lambda z: z if z > 0 else 0.25 * z),
        (nn.SELU(), lambda z: SELU_SCALE * (z if z > 0 else SELU_ALPHA * math.expm1(z))),
        (nn.Identity(), lambda z: z),
    ],
    ids=lambda value: str(value) if isinstance(value, nn.Module) else "",
)
def test_gain_is_one_over_the_rms_of_the_activation_of_a_normal_variable(
    activation: nn.Module, phi: Callable[[float], float]
) -> None:
    assert gain_for(activation) == pytest.approx(from_definition(phi), rel=1e-8)


def test_gains_equal_their_closed_forms() -> None:
    elu = 0.5 + (math.exp(2) * norm.cdf(-2) - 2 * math.exp(0.5) * norm.cdf(-1) + 0.5)
    closed_forms = {
        nn.ELU(): elu,
        nn.GELU(): 1 / 3 + 1 / (2 * math.pi * math.sqrt(3)),
        nn.Hardtanh(): 1 - 2 * norm.pdf(1),
    }
    for activation, second_moment in closed_forms.items():
        assert gain_for(activation) == pytest.approx(second_moment**-0.5, rel=1e-8)


@pytest.mark.parametrize(
    ("activation", "gain"),
    [(nn.Sigmoid(), 1.0), (nn.Tanh(), 5 / 3), (nn.ReLU(), math.sqrt(2)), (nn.SELU(), 1.0)],
)
def test_conventional_gains_are_the_conventional_numbers(
    activation: nn.Module, gain: float
) -> None:
    assert gain_for(activation) == gain


@pytest.mark.parametrize("name", ["sigmoid", "tanh", "relu", "leaky_relu"])
def test_gains_agree_with_torch_where_torch_has_them(name: str) -> None:
    activation = {
        "sigmoid": nn.Sigmoid(),
        "tanh": nn.Tanh(),
        "relu": nn.ReLU(),
        "leaky_relu": nn.LeakyReLU(0.3),
    }[name]
    slope = 0.3 if name == "leaky_relu" else None
    assert gain_for(activation) == pytest.approx(nn.init.calculate_gain(name, slope), rel=1e-12)


def test_the_gain_of_rrelu_is_that_of_its_random_slopes_in_training() -> None:
    lower, upper = 0.1, 0.9
    mean_squared_slope = quad(lambda a: a**2 / (upper - lower), lower, upper)[0]
    expected = math.sqrt(2 / (1 + mean_squared_slope))
    assert gain_for(nn.RReLU(lower, upper)) == pytest.approx(expected, rel=1e-12)
    # And it differs from that of the mean slope, which evaluation uses.
    assert abs(expected - math.sqrt(2 / (1 + 0.5**2))) > 0.02


def test_rrelu_in_training_keeps_the_second_moment_with_its_gain() -> None:
    torch.manual_seed(0)
    activation = nn.RReLU(0.1, 0.9).train()
    squares = activation(torch.randn(1_000_000, dtype=torch.float64)).square()
    standard_error = float(squares.std()) / 1000
    assert float(squares.mean()) == pytest.approx(
        gain_for(activation) ** -2, abs=5 * standard_error
    )


def test_the_gain_of_prelu_follows_its_slope() -> None:
    assert gain_for(nn.PReLU(init=0.5)) == pytest.approx(math.sqrt(2 / 1.25), rel=1e-12)


def test_kaiming_with_leaky_relu_is_critical_chi_1_equals_1() -> None:
    for slope in (0.01, 0.2, 0.9):
        activation = nn.LeakyReLU(slope)
        z = torch.tensor([-1.0, 1.0], dtype=torch.float64, requires_grad=True)
        (derivative,) = torch.autograd.grad(activation(z).sum(), z)
        expected_squared_derivative = float(derivative.square().mean())  # either sign: 1/2
        chi_1 = gain_for(activation) ** 2 * expected_squared_derivative
        assert chi_1 == pytest.approx(1, rel=1e-12)


def test_quadrature_gets_the_chi_1_of_selu_right() -> None:
    scale, alpha = SELU_SCALE, SELU_ALPHA

    def squared_derivative(z: torch.Tensor) -> torch.Tensor:
        return torch.where(z > 0, scale, scale * alpha * torch.exp(z)) ** 2

    closed_form = scale**2 * (0.5 + alpha**2 * math.exp(2) * norm.cdf(-2))
    assert closed_form == pytest.approx(1.0716, abs=1e-4)
    assert gaussian_mean(squared_derivative) == pytest.approx(closed_form, rel=1e-8)


@pytest.mark.parametrize("power", [0, 1, 2, 4, 6])
def test_gaussian_mean_gives_the_moments_of_the_normal_distribution(power: int) -> None:
    moment = {0: 1, 1: 0, 2: 1, 4: 3, 6: 15}[power]
    assert gaussian_mean(lambda z: z**power) == pytest.approx(moment, abs=1e-9)


def test_an_activation_of_a_fork_gets_its_gain_from_the_definition() -> None:
    class Erf(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.tensor(0.7))

        def forward(self, z: torch.Tensor) -> torch.Tensor:
            return torch.erf(self.scale * z)

    expected = from_definition(lambda z: erf(float(np.float32(0.7)) * z))
    activation = Erf()
    assert gain_for(activation) == pytest.approx(expected, rel=1e-8)
    assert activation.scale.dtype == torch.float32  # the activation itself is not touched


def test_a_subclass_does_not_inherit_the_conventional_gain() -> None:
    class HalfReLU(nn.ReLU):
        def forward(self, input: torch.Tensor) -> torch.Tensor:
            return 0.5 * super().forward(input)

    assert gain_for(HalfReLU()) == pytest.approx(2 * math.sqrt(2), rel=1e-8)


@pytest.mark.parametrize(
    ("activation", "message"),
    [(nn.GLU(dim=0), "elementwise"), (nn.Threshold(100.0, 0.0), "is 0.0 for normal z")],
)
def test_an_activation_without_a_gain_is_refused_in_one_line(
    activation: nn.Module, message: str
) -> None:
    with pytest.raises(ValueError, match=message) as refusal:
        gain_for(activation)
    assert "\n" not in str(refusal.value)
