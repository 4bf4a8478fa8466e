"""The mean field of one activation against closed forms and scipy's adaptive quadrature."""

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from scipy.integrate import quad
from scipy.special import expit
from scipy.stats import norm
from torch import Tensor, nn

from gradflow.gradients.gains import gain_for
from lab.theory.mean_field import (
    MeanField,
    Moments,
    gaussian_moments,
    mean_field,
)

# phi and phi', written out.
FUNCTIONS: dict[str, tuple[nn.Module, Callable[[float], float], Callable[[float], float]]] = {
    "tanh": (nn.Tanh(), math.tanh, lambda z: 1 - math.tanh(z) ** 2),
    "sigmoid": (nn.Sigmoid(), expit, lambda z: expit(z) * expit(-z)),
    "gelu": (nn.GELU(), lambda z: z * norm.cdf(z), lambda z: norm.cdf(z) + z * norm.pdf(z)),
    "elu": (
        nn.ELU(0.5),
        lambda z: z if z > 0 else 0.5 * math.expm1(z),
        lambda z: 1.0 if z > 0 else 0.5 * math.exp(z),
    ),
}


def expectation(f: Callable[[float], float], q: float) -> float:
    """E[f(z)] for z ~ N(0, q), integrated in z between points that a wide normal would hide."""
    sigma = math.sqrt(q)
    ends = sorted({s * min(b, 40 * sigma) for s in (-1, 1) for b in (0, 0.3, 1, 5, 30, 40 * sigma)})
    return sum(
        quad(lambda z: f(z) * norm.pdf(z, scale=sigma), *piece, epsrel=1e-11, limit=200)[0]
        for piece in itertools.pairwise(ends)
    )


def tensor(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_moments_equal_adaptive_quadrature_from_tiny_to_huge_variances(name: str) -> None:
    activation, phi, slope = FUNCTIONS[name]
    variances = (1e-6, 0.0123, 0.87, 1.9, 33.0, 1e4)
    got = gaussian_moments(activation, tensor(*variances)).T.tolist()
    for q, (mean, mean_slope, squared, squared_slope) in zip(variances, got, strict=True):
        rms = math.sqrt(expectation(lambda z: phi(z) ** 2, q))
        assert mean == pytest.approx(expectation(phi, q), rel=1e-7, abs=1e-7 * rms)
        assert mean_slope == pytest.approx(expectation(slope, q), rel=1e-7)
        assert squared == pytest.approx(rms**2, rel=1e-7)
        expected = expectation(lambda z: slope(z) ** 2, q)
        assert squared_slope == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_table_agrees_with_direct_integration_between_its_nodes(name: str) -> None:
    activation = FUNCTIONS[name][0]
    q = torch.logspace(-9.97, 9.93, 47, dtype=torch.float64)
    mean, mean_slope, squared, squared_slope = gaussian_moments(activation, q)
    moments = Moments(activation)
    rms, rms_slope = squared.sqrt(), squared_slope.sqrt()
    torch.testing.assert_close(moments.mean(q) / rms, mean / rms, rtol=0, atol=1e-5)
    torch.testing.assert_close(
        moments.mean_slope(q) / rms_slope, mean_slope / rms_slope, rtol=0, atol=1e-5
    )
    torch.testing.assert_close(moments.squared(q), squared, rtol=1e-5, atol=0)
    torch.testing.assert_close(moments.squared_slope(q), squared_slope, rtol=1e-5, atol=0)


def test_hard_tanh_whose_slope_jumps_is_right_to_a_thousandth() -> None:
    q = torch.logspace(-2, 6, 50, dtype=torch.float64)
    inside = torch.erf(1 / (2 * q).sqrt())  # P(|z| < 1)
    moments = Moments(nn.Hardtanh())
    torch.testing.assert_close(moments.squared_slope(q), inside, rtol=1e-3, atol=0)
    density = torch.exp(-1 / (2 * q)) / (2 * math.pi * q).sqrt()
    squared = q * (inside - 2 * density) + 1 - inside
    torch.testing.assert_close(moments.squared(q), squared, rtol=1e-4, atol=0)


def test_beyond_its_ends_the_table_goes_on_as_a_power_of_q() -> None:
    moments = Moments(nn.Tanh())
    small, large = tensor(1e-40, 1e-90), tensor(1e40, 1e90)
    torch.testing.assert_close(moments.squared(small), small, rtol=1e-6, atol=0)
    torch.testing.assert_close(moments.squared_slope(small), tensor(1, 1), rtol=1e-5, atol=0)
    torch.testing.assert_close(moments.squared(large), tensor(1, 1), rtol=1e-2, atol=0)
    # A narrow peak of area 4/3, in a normal density of height 1 / sqrt(2 pi q).
    peak = 4 / 3 / (2 * math.pi * large).sqrt()
    torch.testing.assert_close(moments.squared_slope(large), peak, rtol=1e-3, atol=0)


def test_no_variance_at_all_gives_the_value_at_0_and_an_infinite_one_no_nan() -> None:
    for activation in (nn.Sigmoid(), nn.ReLU(), nn.Tanh()):
        moments = Moments(activation)
        at_0, at_infinity = moments.squared(tensor(0, math.inf)).tolist()
        assert at_0 == pytest.approx(float(activation(tensor(0.0))) ** 2, rel=1e-7)
        assert not math.isnan(at_infinity)


@pytest.mark.parametrize("sigma_w_2", [0.5, 1.0, 2.0, 3.0])
def test_chi_1_of_relu_is_half_of_sigma_w_squared(sigma_w_2: float) -> None:
    relu = Moments(nn.ReLU())
    for bias_variance in (0.0, 0.3):
        assert mean_field(relu, sigma_w_2, bias_variance).chi_1 == pytest.approx(
            sigma_w_2 / 2, rel=1e-10
        )


def test_relu_has_a_finite_fixed_point_below_2_every_one_at_2_and_none_above() -> None:
    relu = Moments(nn.ReLU())
    assert mean_field(relu, 1.0, 0.3).fixed_point == pytest.approx(0.6)
    assert mean_field(relu, 1.0, 0.0).fixed_point == 0
    assert mean_field(relu, 2.0, 0.0).fixed_point is None
    assert mean_field(relu, 2.0, 0.1).fixed_point == math.inf
    assert mean_field(relu, 2.2, 0.0).fixed_point == math.inf
    assert "no finite fixed point" in str(mean_field(relu, 2.2, 0.0))
    assert "every variance of z stays" in str(mean_field(relu, 2.0, 0.0))


@pytest.mark.parametrize(
    "activation", [nn.ReLU(), nn.LeakyReLU(0.2), nn.PReLU(3, init=0.4), nn.RReLU(0.1, 0.9)]
)
def test_kaiming_is_critical_for_every_rectifier(activation: nn.Module) -> None:
    """RReLU with the second moment of the slopes that training draws, as its gain has it."""
    theory = mean_field(Moments(activation), gain_for(activation) ** 2, 0.0)
    assert theory.chi_1 == pytest.approx(1, rel=1e-6)  # PReLU's slope is a float32
    assert theory.slope == pytest.approx(0, abs=1e-6)


def test_rrelu_has_its_mean_slope_in_evaluation() -> None:
    activation = nn.RReLU(0.1, 0.9).eval()
    assert mean_field(Moments(activation), 1.0, 0.0).chi_1 == pytest.approx((1 + 0.5**2) / 2)


def test_selu_with_gain_1_has_its_fixed_point_at_1_and_is_slightly_chaotic() -> None:
    """Klambauer et al. 2017's two constants; chi_1 by its closed form."""
    scale, alpha = 1.0507009873554805, 1.6732632423543772
    closed_form = scale**2 * (0.5 + alpha**2 * math.exp(2) * norm.cdf(-2))
    selu = Moments(nn.SELU())
    for start in (1e-3, 1.0, 50.0):
        theory = mean_field(selu, 1.0, 0.0, start=start)
        assert theory.fixed_point == pytest.approx(1, rel=1e-5)
        assert theory.chi_1 == pytest.approx(closed_form, rel=1e-5)
    assert closed_form == pytest.approx(1.0716, abs=1e-4)


def test_tanh_without_biases_is_critical_at_sigma_w_1() -> None:
    tanh = Moments(nn.Tanh())
    below, at, above = (mean_field(tanh, s, 0.0) for s in (0.9**2, 1.0, 1.1**2))
    assert (below.fixed_point, at.fixed_point) == (0, 0)
    assert (below.chi_1, at.chi_1) == pytest.approx((0.81, 1.0), rel=1e-6)
    assert above.fixed_point is not None
    assert above.fixed_point > 0
    assert above.chi_1 > 1
    assert below.depth_scale == pytest.approx(-1 / math.log(0.81), rel=1e-5)
    assert below.trainable_depth == pytest.approx(-6 / math.log(0.81), rel=1e-5)


@pytest.mark.parametrize(("name", "sigma_w_2"), [("tanh", 2.5), ("sigmoid", 4.0), ("elu", 1.1)])
@pytest.mark.parametrize("start", [1e-2, 200.0])
def test_the_fixed_point_is_where_the_map_ends_and_chi_1_is_taken_there(
    name: str, sigma_w_2: float, start: float
) -> None:
    activation, phi, slope = FUNCTIONS[name]
    theory = mean_field(Moments(activation), sigma_w_2, 0.05, start=start)
    q = theory.fixed_point
    assert q is not None
    mapped = sigma_w_2 * expectation(lambda z: phi(z) ** 2, q) + 0.05
    assert mapped == pytest.approx(q, rel=1e-5)
    expected = sigma_w_2 * expectation(lambda z: slope(z) ** 2, q)
    assert theory.chi_1 == pytest.approx(expected, rel=1e-5)
    iterated = start
    for _ in range(100):
        iterated = sigma_w_2 * expectation(lambda z: phi(z) ** 2, iterated) + 0.05
        if abs(iterated / q - 1) < 1e-3:
            break
    assert iterated == pytest.approx(q, rel=1e-3)


def test_where_two_ends_are_possible_the_start_decides() -> None:
    """GELU is z / 2 for small z and ReLU for large z, so sigma_w^2 = 3 dies out or explodes."""
    gelu = Moments(nn.GELU())
    dies, explodes = (mean_field(gelu, 3.0, 0.0, start=start) for start in (1e-3, 1e3))
    assert (dies.fixed_point, explodes.fixed_point) == (0, math.inf)
    assert dies.chi_1 == pytest.approx(3 / 4, rel=1e-6)
    assert explodes.chi_1 == pytest.approx(3 / 2, rel=1e-4)


def test_a_slope_is_in_decades_of_rms_per_layer() -> None:
    theory = MeanField(weight_variance=1.0, bias_variance=0.0, fixed_point=0.0, chi_1=0.01)
    assert theory.slope == pytest.approx(-1)
    assert "vanish by 1 decades per layer" in str(theory)
    nothing = MeanField(weight_variance=1.0, bias_variance=0.0, fixed_point=0.0, chi_1=0.0)
    assert str(nothing).endswith("gradients are exactly 0 after one layer")
    critical = MeanField(weight_variance=2.0, bias_variance=0.0, fixed_point=None, chi_1=1.0)
    assert critical.depth_scale == critical.trainable_depth == math.inf


def test_the_activation_itself_and_the_random_state_are_left_alone() -> None:
    activation = nn.RReLU()
    called: list[nn.Module] = []
    activation.register_forward_hook(lambda module, *_: called.append(module))
    state = torch.get_rng_state()
    Moments(activation)
    Moments(activation.eval())
    assert torch.equal(torch.get_rng_state(), state)
    assert called == []


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Moments(nn.GLU()), "must be elementwise, but GLU"),
        (lambda: mean_field(Moments(nn.ReLU()), 0.0, 0.0), "weight_variance must be .*, got 0.0$"),
        (lambda: mean_field(Moments(nn.ReLU()), math.nan, 0.0), "weight_variance must be .*nan$"),
        (lambda: mean_field(Moments(nn.ReLU()), 1.0, -1.0), "bias_variance must be .*, got -1.0$"),
        (lambda: mean_field(Moments(nn.ReLU()), 1.0, 0.0, start=0.0), "start must be .* got 0.0$"),
    ],
)
def test_an_activation_without_a_mean_field_is_refused_in_one_line(
    call: Callable[[], object], message: str
) -> None:
    with pytest.raises(ValueError, match=message) as refusal:
        call()
    assert "\n" not in str(refusal.value)


def test_weights_in_float32_at_criticality_count_as_critical() -> None:
    """Orthogonal weights have their second moment to 1e-8 or so."""
    found = mean_field(Moments(nn.ReLU()), 2 * (1 - 3e-8), 0.0)
    assert found.fixed_point is None
    assert found.depth_scale == math.inf
