"""Dead and saturated units: layers made by hand, in which their number is known."""

import math

import pytest
import torch
from torch import Tensor, nn

from gradflow.gradients.units import FLAT, Judged, dead_and_saturated


def shares(phi: nn.Module, z: Tensor, output: Tensor | None = None) -> list[float]:
    return dead_and_saturated([Judged(phi, z, output)])[0].tolist()


def channels(values: list[float], spread: float = 0.01, channels_last: bool = False) -> Tensor:
    """z of shape (3, len(values), 5, 5): each channel around a value of its own."""
    noise = torch.randn(3, len(values), 5, 5, generator=torch.Generator().manual_seed(0))
    z = torch.tensor(values).view(1, -1, 1, 1) + spread * noise
    return z.to(memory_format=torch.channels_last) if channels_last else z


@pytest.mark.parametrize("dead", [0, 3, 8])
@pytest.mark.parametrize("inplace", [True, False])
@pytest.mark.parametrize("channels_last", [True, False])
def test_relu_channels_that_are_never_active_are_dead_and_not_saturated(
    dead: int, inplace: bool, channels_last: bool
) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 8, 3)
    with torch.no_grad():
        conv.bias[:dead] = -100
        z = conv(torch.randn(4, 3, 6, 6))
    z = z.to(memory_format=torch.channels_last) if channels_last else z
    before = z.clone()
    assert shares(nn.ReLU(inplace=inplace), z) == [dead / 8, 0]
    assert torch.equal(z, before)


def test_a_unit_that_is_active_once_is_not_dead() -> None:
    z = torch.full((4, 2, 5, 5), -1.0)
    z[3, 1, 4, 4] = 1e-3
    assert shares(nn.ReLU(), z) == [0.5, 0.5]  # 1 element of 100 lets something through


@pytest.mark.parametrize(
    ("phi", "values", "dead", "saturated"),
    [
        # Slopes from the definitions: sech²(2.5) = 0.027 and sech²(2) = 0.071 about FLAT · 1.
        (nn.Tanh(), [0, 1, 2, 2.5, -2.5, 8], 0, 3),
        # Its slope is 0.011 at 4.5 and 0.018 at 4; FLAT times the largest, 1/4, is 0.0125.
        (nn.Sigmoid(), [0, 2, -4, 4, 4.5, -4.5], 0, 2),
        (nn.Hardtanh(), [0, -0.9, 0.9, 1.2, -1.2, 50], 0, 3),
        (nn.ReLU6(), [-1, 3, 7, 8], 1, 2),
        # λα e^z against FLAT · λα, the largest slope, just below 0: e^-2.9 = 0.055, e^-3.1 = 0.045.
        (nn.SELU(), [1, 0, -2.9, -3.1, -20], 0, 2),
        # Its slope crosses 0 at -0.75 and has vanished at -5; at -100 nothing is left of it.
        (nn.GELU(), [0, 3, -1.5, -5, -100], 1, 1),
        (nn.LeakyReLU(0.01), [1, -1], 0, 1),
        (nn.LeakyReLU(0.2), [1, -1], 0, 0),
        (nn.Identity(), [0, 100, -100], 0, 0),
    ],
)
def test_units_on_flat_parts_are_saturated(
    phi: nn.Module, values: list[float], dead: int, saturated: int
) -> None:
    z = channels(values)
    expected = pytest.approx([dead / len(values), saturated / len(values)])
    assert shares(phi, z) == expected
    assert shares(phi, channels(values, channels_last=True)) == expected
    assert shares(phi, z.bfloat16()) == expected


def test_the_mean_over_a_unit_decides() -> None:
    """A sigmoid unit of which a share s of elements is at 0 has mean slope s/4."""
    z = torch.full((100, 2), 50.0)
    z[: int(100 * FLAT) - 1, 0] = 0
    z[: int(100 * FLAT) + 1, 1] = 0
    assert shares(nn.Sigmoid(), z) == [0, 0.5]


def test_units_are_features_of_vectors_and_of_sequences() -> None:
    z = torch.ones(2, 5, 4)
    z[..., 1] = -1
    assert shares(nn.ReLU(), z) == [0.25, 0]
    assert shares(nn.ReLU(), z[:, 0]) == [0.25, 0]
    assert shares(nn.ReLU(), -z[:, 0, 0]) == [1, 0]  # a number per image: one unit


def test_layers_of_one_kind_are_judged_each_for_itself() -> None:
    z = [channels([1.0] * (4 - k) + [-1.0] * k) for k in range(5)]
    layers = [Judged(nn.ReLU(), x, None) for x in z]
    layers[2:2] = [
        Judged(phi, x, None)
        for phi, x in ((nn.Tanh(), z[2]), (nn.ReLU(), torch.ones(2, 7)), (nn.LeakyReLU(), z[1]))
    ]
    dead = [0, 1 / 4, 0, 0, 0, 2 / 4, 3 / 4, 1]
    saturated = [0, 0, 0, 0, 1 / 4, 0, 0, 0]
    found = dead_and_saturated(layers)
    torch.testing.assert_close(found, torch.tensor([dead, saturated]).double().T)


def test_rrelu_is_judged_in_evaluation_and_draws_nothing() -> None:
    phi = nn.RReLU(0.001, 0.049)  # its slope in evaluation is the mean, 0.025
    state = torch.get_rng_state()
    assert shares(phi, channels([1, -1, -2, 3])) == [0, 0.5]
    assert torch.equal(torch.get_rng_state(), state)
    assert phi.training


def test_prelu_has_the_slopes_that_it_has_learned() -> None:
    shared = nn.PReLU(init=0.01)
    assert shares(shared, channels([1, -1, -1, 1])) == [0, 0.5]
    per_channel = nn.PReLU(4)
    with torch.no_grad():
        per_channel.weight.copy_(torch.tensor([0.01, 0.01, 0.5, 0]))
    # -1 in the first: saturated; +1 in the second: not; the fourth is 0 on -1: dead.
    assert shares(per_channel, channels([-1, 1, -1, -1])) == [0.25, 0.25]
    # Against the unit's own largest slope: 100 below 0, so 1 above 0 is flat.
    with torch.no_grad():
        per_channel.weight.fill_(100)
    assert shares(per_channel, channels([1, 1, -1, -1])) == [0, 0.5]
    assert per_channel.weight.grad is None
    assert per_channel.weight.requires_grad


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_parameters_of_other_types_fit(dtype: torch.dtype) -> None:
    assert shares(nn.PReLU(2, init=0.01).to(dtype), channels([1, -1]).to(dtype)) == [0, 0.5]


def test_prelu_of_a_sequence_has_a_slope_per_position() -> None:
    """PyTorch's channel is dimension 1, whatever stands there."""
    z = torch.ones(2, 3, 5)
    z[..., 4] = -1
    assert shares(nn.PReLU(3, init=0.01), z) == [0, 0.2]


class Counting(nn.Module):
    """An activation of one's own, with a state: it counts its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x.clamp(min=0).square()


class Softer(nn.ReLU):
    """A subclass with another formula."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.where(x > 0, x, 0.5 * x)


def test_an_activation_of_ones_own_is_judged_by_its_output_and_never_called() -> None:
    phi, z = Counting(), channels([1, -1, -1, 100])
    output = phi(z)
    dead, saturated = shares(phi, z, output)
    assert dead == 0.5
    assert math.isnan(saturated)  # its slope has no largest value
    assert phi.calls == 1
    assert all(map(math.isnan, shares(phi, z)))  # without its output it is not judged


def test_a_subclass_of_a_known_activation_is_not_taken_for_it() -> None:
    z = channels([-1, -1])
    assert shares(nn.ReLU(), z) == [1, 0]
    assert shares(Softer(), z, Softer()(z))[0] == 0


def test_known_and_unknown_activations_are_judged_side_by_side() -> None:
    z = channels([1, -1])
    layers = [Judged(nn.ReLU(), z, None), Judged(Counting(), z, z), Judged(nn.ReLU(), -z, None)]
    torch.testing.assert_close(
        dead_and_saturated(layers)[:, 0], torch.tensor([0.5, 0, 0.5]).double()
    )


def test_nan_is_neither_dead_nor_saturated() -> None:
    z = channels([-1, -1, -1, -1])
    z[0, 1, 0, 0] = math.nan
    assert shares(nn.ReLU(), z) == [0.75, 0]
    assert shares(nn.Tanh(), 100 * z) == [0, 0.75]
