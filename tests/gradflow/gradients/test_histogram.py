"""The measurement against numpy in float64: `frexp` and plain sums, no bits, no bins of torch."""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradflow.gradients import histogram
from gradflow.gradients.histogram import BINS, FIRST_EXPONENT, measure

FLOAT32_MAX = torch.finfo(torch.float32).max
SMALLEST_NORMAL = 2.0**-126


def expected_bins(x: NDArray[np.float64]) -> NDArray[np.int64]:
    """Counts of 2^e <= |x| < 2^(e+1), e = -126 … 127, from the definition."""
    x = np.abs(x[np.isfinite(x)])
    x = x[x >= SMALLEST_NORMAL]
    exponents = np.frexp(x)[1] - 1  # frexp's mantissa lies in [1/2, 1)
    return np.bincount(np.minimum(exponents, 127) - FIRST_EXPONENT, minlength=BINS)


def assert_measured_right(tensors: list[Tensor], relative: float = 1e-12) -> None:
    measured = measure(tensors)
    for i, tensor in enumerate(tensors):
        x = tensor.detach().double().flatten().numpy()
        finite = np.abs(x[np.isfinite(x)])
        scale = finite.max(initial=0.0) or 1.0
        norm = scale * math.sqrt(math.fsum((finite / scale) ** 2))
        np.testing.assert_array_equal(measured.bins[i], expected_bins(x))
        assert measured.elements[i] == x.size
        assert measured.zeros[i] == (x == 0).sum()
        assert measured.subnormals[i] == ((finite > 0) & (finite < SMALLEST_NORMAL)).sum()
        assert measured.nans[i] == np.isnan(x).sum()
        assert measured.infs[i] == np.isinf(x).sum()
        if finite.size:
            assert measured.max[i] == finite.max()
            assert measured.norm[i] == pytest.approx(norm, rel=relative, abs=0)
            assert measured.rms[i] == pytest.approx(norm / finite.size**0.5, rel=relative, abs=0)


def special_values(dtype: torch.dtype) -> Tensor:
    """Zeros, subnormals, non-finite values, and the powers of two with their two neighbours."""
    info = torch.finfo(dtype)
    lowest = math.frexp(info.smallest_normal)[1] - 1
    highest = math.frexp(info.max)[1] - 1
    powers = torch.tensor([2.0**e for e in range(lowest, highest + 1)], dtype=dtype)
    zero, infinity = torch.zeros(1, dtype=dtype), torch.full((1,), math.inf, dtype=dtype)
    neighbours = [torch.nextafter(powers.float(), v.float()) for v in (zero, infinity)]
    smallest = info.smallest_normal * info.eps
    rest = [0.0, -0.0, math.nan, math.inf, -math.inf, info.max, info.min, smallest, -3 * smallest]
    parts = [powers, -powers, *(n.to(dtype) for n in neighbours), torch.tensor(rest, dtype=dtype)]
    return torch.cat(parts)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_special_values_and_powers_of_two_are_counted_where_they_belong(
    dtype: torch.dtype,
) -> None:
    assert_measured_right([special_values(dtype)])


def test_every_power_of_two_opens_its_own_bin() -> None:
    powers = torch.tensor([2.0**e for e in range(-126, 128)])
    below = torch.nextafter(powers, torch.zeros(1))
    measured = measure([powers, below])
    assert (measured.bins[0] == 1).all()
    assert measured.subnormals[1] == 1  # just below 2^-126
    np.testing.assert_array_equal(measured.bins[1], [1] * 253 + [0])


def test_bins_and_counts_beside_them_add_up_to_the_number_of_elements() -> None:
    generator = torch.Generator().manual_seed(0)
    # Random bits: every exponent, and NaN, Inf and subnormals in their natural share.
    bits = torch.randint(-(2**31), 2**31, (100_003,), generator=generator, dtype=torch.int64)
    x = torch.cat([bits.int().view(torch.float32), torch.zeros(17)])
    measured = measure([x])
    outside = measured.zeros + measured.subnormals + measured.nans + measured.infs
    assert measured.elements[0] == 100_020
    assert measured.bins[0].sum() + outside[0] == 100_020
    assert measured.nans[0] > 0
    assert measured.subnormals[0] > 0
    assert_measured_right([x])


def test_many_shapes_scales_and_types_in_one_call_come_back_in_order() -> None:
    generator = torch.Generator().manual_seed(1)
    shapes = [(1,), (), (16, 3, 3, 3), (300, 300), (7,), (64, 64, 3, 3), (5, 2), (70_000,), (3,)]
    dtypes = [torch.float32, torch.float64, torch.bfloat16]
    tensors = [
        (torch.randn(shape, generator=generator) * 10.0 ** -(3 * i)).to(dtypes[i % 3])
        for i, shape in enumerate(shapes)
    ]
    tensors[2] = tensors[2].to(memory_format=torch.channels_last)
    tensors[3] = tensors[3].t()
    assert_measured_right(tensors)


@pytest.mark.parametrize("scale", [1e-42, 1e-25, 1e-3, 1e30])
def test_norm_and_rms_are_right_where_squares_leave_float32(scale: float) -> None:
    x = torch.randn(5000, generator=torch.Generator().manual_seed(2)) * scale
    assert x.square().sum().item() in (0.0, math.inf) or scale == 1e-3
    assert_measured_right([x])


@pytest.mark.parametrize("scale", [1e-320, 1e-200, 1e200])
def test_float64_beyond_float32_is_measured_in_float64(scale: float) -> None:
    x = torch.randn(5000, generator=torch.Generator().manual_seed(3), dtype=torch.float64) * scale
    # Below 1e-308 the quotients that the oracle and the code form lose digits: 1e-320 has four.
    assert_measured_right([x], relative=1e-12 if scale != 1e-320 else 1e-3)
    measured = measure([x])
    if scale > 1:
        assert measured.bins[0, -1] == 5000  # finite, however large
    else:
        assert measured.subnormals[0] + measured.zeros[0] == 5000
        assert measured.zeros[0] == (x == 0).sum()


def test_float64_is_not_rounded_up_into_the_next_bin() -> None:
    below_one = torch.tensor([1 - 2.0**-53], dtype=torch.float64)
    assert below_one.float().item() == 1.0
    assert measure([below_one]).bins[0, -1 - FIRST_EXPONENT] == 1  # 2^-1 <= x < 1


def test_special_values_of_float64_are_counted_where_they_belong() -> None:
    rest = [0.0, -0.0, math.nan, -math.inf, FLOAT32_MAX, 2.0**128, 2.0**-126, 2.0**-127, 5e-324]
    assert_measured_right([torch.tensor(rest, dtype=torch.float64)])


def test_statistics_are_those_of_the_finite_elements() -> None:
    measured = measure([torch.tensor([3.0, math.nan, -4.0, math.inf])])
    assert (measured.norm[0], measured.max[0]) == (5.0, 4.0)
    assert measured.rms[0] == pytest.approx(math.sqrt(12.5))
    assert (measured.nans[0], measured.infs[0]) == (1, 1)


def test_statistics_are_nan_where_nothing_is_finite_and_zero_where_all_is_zero() -> None:
    measured = measure([torch.full((4,), math.nan), torch.zeros(4), torch.tensor([-math.inf])])
    for values in (measured.norm, measured.rms, measured.max):
        np.testing.assert_array_equal(values, [math.nan, 0.0, math.nan])


def test_the_way_of_counting_on_accelerators_gives_the_same_counts() -> None:
    codes = torch.randint(0, 40, (10_000,), dtype=torch.int32)
    on_cpu = histogram._count(codes, 50)

    class Elsewhere(torch.Tensor):  # says that it lies on another device; nothing else changes
        device = torch.device("cuda")

    zeros = torch.zeros
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "zeros", lambda n, dtype, device: zeros(n, dtype=dtype))
        elsewhere = histogram._count(codes.as_subclass(Elsewhere), 50)
    np.testing.assert_array_equal(elsewhere.as_subclass(Tensor), on_cpu)
    np.testing.assert_array_equal(on_cpu, np.bincount(codes.numpy(), minlength=50))


def test_measuring_changes_nothing() -> None:
    x = torch.tensor([1.0, math.nan, -math.inf, 0.0])
    double = torch.tensor([1e200, -0.0], dtype=torch.float64)
    bits, double_bits = x.view(torch.int32).clone(), double.view(torch.int64).clone()
    state = torch.get_rng_state()
    measure([x, double])
    measure([x])
    assert torch.equal(x.view(torch.int32), bits)
    assert torch.equal(double.view(torch.int64), double_bits)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ([], r"^tensors=\[\]: must hold at least one tensor$"),
        ([torch.zeros(0, 3)], r"^a tensor of shape \(0, 3\) and type torch.float32: must have"),
        ([torch.zeros(2, dtype=torch.complex64)], r"complex64: must have elements, of a real"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_one_line(
    tensors: list[Tensor], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        measure(tensors)
