"""Each initializer's weights against its definition, layer by layer.

Tolerances are five standard errors of a sample variance: with N weights its relative standard
error is sqrt((kurtosis - 1) / N), where kurtosis is 3 for a normal and 1.8 for a uniform
distribution. The seed is fixed, so a test that passes keeps passing.
"""

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from project.models import ConvNet
from project.models import initializers as init

NORMAL, UNIFORM = 3.0, 1.8  # kurtosis

# fan_in and fan_out of each layer of an 8-layer net of width 16: 3x3 kernels, then the head.
FANS = {
    "stem.conv": (27, 144),
    "stages.0.0.conv1": (144, 144),
    "stages.0.0.conv2": (144, 144),
    "stages.1.0.conv1": (144, 288),
    "stages.1.0.conv2": (288, 288),
    "stages.2.0.conv1": (288, 576),
    "stages.2.0.conv2": (576, 576),
    "head": (64, 10),
}


def new_net(**changes: object) -> ConvNet:
    options = {
        "depth": 8,
        "width": 16,
        "skip": False,
        "activation": nn.ReLU,
        "norm": lambda _: nn.Identity(),
    } | changes
    return ConvNet(**options)  # type: ignore[arg-type]


def weights_after(initializer: Callable[..., None], **keys: object) -> dict[str, Tensor]:
    torch.manual_seed(0)
    net = new_net()
    initializer(net, nn.ReLU, **keys)
    return {name: net.get_submodule(name).weight.detach().double() for name in FANS}


def kaiming_variance(fan_in: int, fan_out: int, gain: float, mode: str) -> float:
    return gain**2 / {"fan_in": fan_in, "fan_out": fan_out}[mode]


def xavier_variance(fan_in: int, fan_out: int, gain: float) -> float:
    return gain**2 * 2 / (fan_in + fan_out)


def assert_layers_have_variance(
    weights: dict[str, Tensor], variance: Callable[[int, int], float], kurtosis: float
) -> None:
    for name, (fan_in, fan_out) in FANS.items():
        weight, expected = weights[name], variance(fan_in, fan_out)
        tolerance = 5 * math.sqrt((kurtosis - 1) / weight.numel())
        assert float(weight.square().mean()) == pytest.approx(expected, rel=tolerance), name
        assert abs(float(weight.mean())) < 5 * math.sqrt(expected / weight.numel()), name
        measured_kurtosis = float((weight**4).mean()) / float(weight.square().mean()) ** 2
        assert (measured_kurtosis > 2.4) == (kurtosis == NORMAL), name
        if kurtosis == UNIFORM:
            bound = math.sqrt(3 * expected)
            largest = float(weight.abs().max())
            # P(no |w| beyond b (1 - 14/N)) is exp(-14), 1e-6.
            assert bound * (1 - 14 / weight.numel()) < largest <= bound * (1 + 1e-6), name


@pytest.mark.parametrize("mode", ["fan_in", "fan_out"])
@pytest.mark.parametrize(
    ("gain", "sigma_w"), [(None, math.sqrt(2)), (1.0, 1.0), (0.5, 0.5), (3.0, 3.0)]
)
def test_kaiming_weights_have_variance_gain_squared_over_fan(
    gain: float | None, sigma_w: float, mode: str
) -> None:
    variance = partial(kaiming_variance, gain=sigma_w, mode=mode)
    normal = weights_after(init.kaiming_normal, gain=gain, mode=mode)
    uniform = weights_after(init.kaiming_uniform, gain=gain, mode=mode)
    assert_layers_have_variance(normal, variance, NORMAL)
    assert_layers_have_variance(uniform, variance, UNIFORM)


@pytest.mark.parametrize(("gain", "sigma_w"), [(1.0, 1.0), (None, math.sqrt(2))])
def test_xavier_weights_have_variance_two_gain_squared_over_the_sum_of_fans(
    gain: float | None, sigma_w: float
) -> None:
    variance = partial(xavier_variance, gain=sigma_w)
    normal = weights_after(init.xavier_normal, gain=gain)
    uniform = weights_after(init.xavier_uniform, gain=gain)
    assert_layers_have_variance(normal, variance, NORMAL)
    assert_layers_have_variance(uniform, variance, UNIFORM)


def test_default_leaves_weights_and_biases_uniform_in_one_over_sqrt_fan_in() -> None:
    torch.manual_seed(0)
    net = new_net()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    init.default(net, nn.ReLU)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    weights = {name: net.get_submodule(name).weight.detach().double() for name in FANS}
    assert_layers_have_variance(weights, lambda fan_in, _: 1 / (3 * fan_in), UNIFORM)
    for name, (fan_in, _) in FANS.items():
        bias = net.get_submodule(name).bias
        assert 0 < float(bias.detach().abs().max()) <= 1 / math.sqrt(fan_in)


@pytest.mark.parametrize(("gain", "sigma_w"), [(None, math.sqrt(2)), (0.7, 0.7)])
def test_orthogonal_weights_have_rows_of_length_gain_at_right_angles(
    gain: float | None, sigma_w: float
) -> None:
    for name, weight in weights_after(init.orthogonal, gain=gain).items():
        w = weight.flatten(1)
        assert w.shape[0] <= w.shape[1], name
        torch.testing.assert_close(
            w @ w.T,
            sigma_w**2 * torch.eye(len(w), dtype=torch.float64),
            atol=1e-5,
            rtol=0,
        )


def test_orthogonal_weights_with_more_rows_than_columns_have_orthogonal_columns() -> None:
    net = new_net(width=64)  # the stem is 64 by 27
    init.orthogonal(net, nn.ReLU, gain=0.7)
    w = net.get_submodule("stem.conv").weight.detach().double().flatten(1)
    torch.testing.assert_close(
        w.T @ w, 0.49 * torch.eye(27, dtype=torch.float64), atol=1e-5, rtol=0
    )


@pytest.mark.parametrize(("gain", "sigma_w"), [(1.0247, 1.0247), (None, math.sqrt(2))])
def test_delta_orthogonal_kernels_are_zero_but_for_an_orthogonal_centre(
    gain: float | None, sigma_w: float
) -> None:
    weights = weights_after(init.delta_orthogonal, gain=gain)
    head = weights.pop("head")
    torch.testing.assert_close(
        head @ head.T, sigma_w**2 * torch.eye(10, dtype=torch.float64), atol=1e-5, rtol=0
    )
    for weight in weights.values():
        centre = weight[:, :, 1, 1]
        torch.testing.assert_close(
            centre.T @ centre,
            sigma_w**2 * torch.eye(centre.shape[1], dtype=torch.float64),
            atol=1e-5,
            rtol=0,
        )
        off_centre = weight.clone()
        off_centre[:, :, 1, 1] = 0
        assert torch.count_nonzero(off_centre) == 0


def test_delta_orthogonal_convolutions_multiply_every_norm_by_the_gain() -> None:
    weights = weights_after(init.delta_orthogonal, gain=1.0247)
    del weights["head"]
    for weight in weights.values():
        images = torch.randn(4, weight.shape[1], 8, 8, dtype=torch.float64)
        circular = F.conv2d(F.pad(images, (1, 1, 1, 1), mode="circular"), weight)
        zero_padded = F.conv2d(images, weight, padding=1)
        for out in (circular, zero_padded):
            ratios = out.flatten(1).norm(dim=1) / images.flatten(1).norm(dim=1)
            torch.testing.assert_close(ratios, torch.full_like(ratios, 1.0247), rtol=1e-5, atol=0)


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(8, 4, 3),
        nn.Conv2d(8, 8, 3, groups=2),
        nn.Conv2d(4, 8, 2),
        nn.Conv2d(4, 8, (3, 4)),
    ],
    ids=["narrows", "groups", "even", "even width"],
)
def test_delta_orthogonal_refuses_convolutions_that_have_no_such_kernel(conv: nn.Conv2d) -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), conv)
    with pytest.raises(ValueError, match=r"delta_orthogonal needs .* got 2: Conv2d") as refusal:
        init.delta_orthogonal(net, nn.ReLU, gain=1.0)
    assert "\n" not in str(refusal.value)


TAKES_A_GAIN: list[Callable[..., None]] = [
    partial(init.xavier_uniform, gain=1.0),
    partial(init.xavier_normal, gain=1.0),
    partial(init.kaiming_uniform, gain=None, mode="fan_in"),
    partial(init.kaiming_normal, gain=None, mode="fan_in"),
    partial(init.orthogonal, gain=None),
    partial(init.delta_orthogonal, gain=1.0247),
]
SETS_EVERY_LAYER = [
    *TAKES_A_GAIN,
    partial(init.gaussian, weight_variance=2.0, bias_variance=0.0),
]


@pytest.mark.parametrize("initializer", SETS_EVERY_LAYER, ids=lambda i: i.func.__name__)
@pytest.mark.parametrize(
    "norm",
    [
        lambda _: nn.Identity(),
        nn.BatchNorm2d,
        partial(nn.InstanceNorm2d, affine=True),
        lambda channels: nn.GroupNorm(2, channels),
    ],
    ids=["none", "batch", "instance", "group"],
)
def test_biases_become_0_norm_weights_1_and_every_weight_is_drawn_anew(
    initializer: Callable[..., None], norm: Callable[[int], nn.Module]
) -> None:
    net = new_net(norm=norm)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.fill_(7)
    initializer(net, nn.ReLU)
    for name, parameter in net.named_parameters():
        if name.endswith("bias"):
            assert torch.all(parameter == 0), name
        elif "norm" in name:
            assert torch.all(parameter == 1), name
        else:
            assert not torch.any(parameter == 7), name
        assert parameter.requires_grad
        assert parameter.grad_fn is None


@pytest.mark.parametrize("initializer", SETS_EVERY_LAYER, ids=lambda i: i.func.__name__)
def test_the_global_seed_decides_the_weights(initializer: Callable[..., None]) -> None:
    nets = [new_net() for _ in range(3)]
    for net, seed in zip(nets, (0, 0, 1), strict=True):
        torch.manual_seed(seed)
        initializer(net, nn.ReLU)
    first, again, other = (net.get_submodule("stages.1.0.conv1").weight for net in nets)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_learned_slopes_are_left_alone() -> None:
    net = new_net(activation=nn.PReLU)
    init.kaiming_normal(net, nn.PReLU, gain=None, mode="fan_in")
    assert net.get_submodule("stem.activation").weight.item() == 0.25


def test_zero_residual_blocks_start_as_their_shortcuts() -> None:
    net = new_net(depth=14, skip=True, norm=nn.BatchNorm2d)
    init.zero_residual(net, nn.ReLU, gain=None, mode="fan_in")
    x = net.stem(torch.randn(4, 3, 16, 16))
    for stage, stride in zip(net.stages, (1, 2, 2), strict=True):
        out = stage(x)
        # ReLU leaves what comes from a ReLU as it is, so that the shortcut's output goes through.
        channels = x.shape[1]
        assert torch.equal(out[:, :channels], x[:, :, ::stride, ::stride])
        assert torch.count_nonzero(out[:, channels:]) == 0
        x = out


def test_zero_residual_is_kaiming_everywhere_else() -> None:
    nets = [new_net(skip=True, norm=nn.BatchNorm2d) for _ in range(2)]
    for net, initializer in zip(nets, (init.zero_residual, init.kaiming_normal), strict=True):
        torch.manual_seed(0)
        initializer(net, nn.ReLU, gain=None, mode="fan_in")
    zeroed, kaiming = (dict(net.named_parameters()) for net in nets)
    changed = [name for name in zeroed if not torch.equal(zeroed[name], kaiming[name])]
    assert changed == [f"stages.{stage}.0.norm2.weight" for stage in range(3)]
    assert all(torch.all(zeroed[name] == 0) for name in changed)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"skip": False, "norm": nn.BatchNorm2d}, "needs a net with skip connections"),
        ({"skip": True}, r"needs a norm with a weight.* Identity\(\)$"),
        ({"skip": True, "norm": nn.InstanceNorm2d}, "needs a norm with a weight"),
    ],
)
def test_zero_residual_is_refused_without_a_skip_connection_or_a_norm(
    changes: dict[str, object], message: str
) -> None:
    net = new_net(**changes)
    before = [parameter.clone() for parameter in net.parameters()]
    with pytest.raises(ValueError, match=message) as refusal:
        init.zero_residual(net, nn.ReLU, gain=None, mode="fan_in")
    assert "\n" not in str(refusal.value)
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))


@pytest.mark.parametrize("initializer", TAKES_A_GAIN, ids=lambda i: i.func.__name__)
@pytest.mark.parametrize("gain", [0.0, -1.0, math.inf, math.nan])
def test_a_gain_that_is_not_positive_is_refused_in_one_line(
    initializer: Callable[..., None], gain: float
) -> None:
    with pytest.raises(ValueError, match=f"positive and finite, or null, got {gain}$"):
        initializer(new_net(), nn.ReLU, gain=gain)


def test_an_unknown_fan_is_refused_in_one_line() -> None:
    with pytest.raises(ValueError, match="mode must be fan_in or fan_out, got fan_avg"):
        init.kaiming_normal(new_net(), nn.ReLU, gain=None, mode="fan_avg")  # type: ignore[arg-type]


@pytest.mark.parametrize("sigma_w_2", [0.6, 3.0])
def test_gaussian_weights_have_variance_sigma_w_squared_over_fan_in(sigma_w_2: float) -> None:
    weights = weights_after(init.gaussian, weight_variance=sigma_w_2, bias_variance=0.3)
    assert_layers_have_variance(weights, lambda fan_in, _: sigma_w_2 / fan_in, NORMAL)


def test_gaussian_biases_have_variance_sigma_b_squared_in_every_layer() -> None:
    net = new_net(width=256)
    init.gaussian(net, nn.ReLU, weight_variance=1.0, bias_variance=0.3)
    biases = {n: p.detach().double() for n, p in net.named_parameters() if n.endswith("bias")}
    assert len(biases) == len(FANS)
    for name, bias in biases.items():
        tolerance = 5 * math.sqrt((NORMAL - 1) / bias.numel())
        assert float(bias.square().mean()) == pytest.approx(0.3, rel=tolerance), name
        assert abs(float(bias.mean())) < 5 * math.sqrt(0.3 / bias.numel()), name
    together = torch.cat(list(biases.values()))
    kurtosis = float((together**4).mean()) / float(together.square().mean()) ** 2
    assert kurtosis == pytest.approx(NORMAL, abs=5 * math.sqrt(24 / together.numel()))


@pytest.mark.parametrize(
    ("weight_variance", "bias_variance", "message"),
    [
        (0.0, 0.0, "weight_variance must be positive and finite, got 0.0$"),
        (math.inf, 0.0, "weight_variance must be positive and finite, got inf$"),
        (math.nan, 0.0, "weight_variance must be positive and finite, got nan$"),
        (1.0, -0.1, "bias_variance must be at least 0 and finite, got -0.1$"),
        (1.0, math.nan, "bias_variance must be at least 0 and finite, got nan$"),
        (1.0, 0.1, "bias_variance=0.1 needs biases, and stem.conv has none, .*norm=none"),
    ],
)
def test_invalid_gaussian_variances_are_refused_in_one_line_before_drawing(
    weight_variance: float, bias_variance: float, message: str
) -> None:
    net = new_net(norm=nn.BatchNorm2d)
    before = [parameter.clone() for parameter in net.parameters()]
    with pytest.raises(ValueError, match=message) as refusal:
        init.gaussian(net, nn.ReLU, weight_variance=weight_variance, bias_variance=bias_variance)
    assert "\n" not in str(refusal.value)
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))
