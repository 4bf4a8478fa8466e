"""The predicted profile: exact where sums over pixels can be written out, and against real passes.

The net is measured here by hooks of the test's own.
"""

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from lab.theory.layers import applies
from lab.theory.predict import predict
from project.models import ConvNet
from project.models import initializers as init

Activation = Callable[[], nn.Module]
STRIDES = [1, 1, 1, 2, 1, 2, 1]  # of the seven convolutions of 8 layers


def plain_net(activation: Activation = nn.ReLU, **changes: object) -> ConvNet:
    options = {"depth": 8, "width": 4, "skip": False, "norm": lambda _: nn.Identity()} | changes
    return ConvNet(activation=activation, **options)  # type: ignore[arg-type]


def batch(count: int = 6, side: int = 12) -> tuple[Tensor, Tensor]:
    """Images whose contrast differs from image to image and from pixel to pixel."""
    images = torch.randn(count, 3, side, side) * torch.rand(count, 1, side, side).exp()
    return images * torch.linspace(0.3, 2, count).view(-1, 1, 1, 1), torch.arange(count) % 10


def measured(net: ConvNet, images: Tensor, labels: Tensor) -> tuple[dict[str, float], ...]:
    """log10 RMS of z and of dL/dz by layer, from one pass forward and back."""
    pre_activation: dict[str, float] = {}
    gradient: dict[str, float] = {}

    def log10_rms(x: Tensor) -> float:
        return float(x.detach().double().square().mean().sqrt().log10())

    def watch(name: str, z: Tensor) -> None:
        pre_activation[name] = log10_rms(z)
        z.register_hook(lambda g: gradient.__setitem__(name, log10_rms(g)))

    handles = [
        module.register_forward_pre_hook(lambda _, args, name=name: watch(name, args[0]))
        for name, module in net.named_modules()
        if ".activation" in name
    ]
    logits = net(images)
    watch("head", logits)
    F.cross_entropy(logits, labels).backward()
    for handle in handles:
        handle.remove()
    return pre_activation, gradient


def sums_over_pixels(side: int, stride: int, padding: str) -> NDArray[np.float64]:
    """Which pixels of a square image each output pixel of a 3x3 convolution sees: a matrix."""
    outputs = -(-side // stride)
    matrix = np.zeros((outputs, outputs, side, side))
    for row in range(outputs):
        for column in range(outputs):
            for i in (-1, 0, 1):
                for j in (-1, 0, 1):
                    r, c = row * stride + i, column * stride + j
                    if padding == "circular":
                        r, c = r % side, c % side
                    if 0 <= r < side and 0 <= c < side:
                        matrix[row, column, r, c] += 1
    return matrix.reshape(outputs**2, side**2)


def way_back(
    net: ConvNet, images: Tensor, labels: Tensor, pixels: int
) -> tuple[NDArray[np.float64], float]:
    """E[(dL/da)^2] of what the average takes, pixels by images, and E[(dL/dlogits)^2]."""
    p = net(images).detach().double().softmax(1)
    squared = ((p - F.one_hot(labels, 10)) / len(labels)).square().numpy()
    w = net.head.weight.detach().double().numpy()
    of_image = squared.sum(1) * (w**2).mean() / pixels**2
    return np.broadcast_to(of_image, (pixels, len(images))), float(squared.mean())


@pytest.mark.parametrize("padding", ["zeros", "circular"])
@pytest.mark.parametrize("side", [8, 11])
@pytest.mark.parametrize("slope", [1.0, 0.2])
def test_rectifiers_follow_matrices_of_pixel_sums_exactly(
    padding: str, side: int, slope: float
) -> None:
    """E[phi^2] = c q and E[phi'^2] = c, so that only sums over pixels and channels are left."""
    torch.manual_seed(0)
    net = plain_net(partial(nn.LeakyReLU, slope), padding=padding)
    init.gaussian(net, nn.ReLU, weight_variance=1.7, bias_variance=0.4 if slope == 1 else 0.0)
    images, labels = batch(side=side)
    c = (1 + slope**2) / 2
    convs = [m for m in net.modules() if isinstance(m, nn.Conv2d)]
    matrices, q = [], []
    entering = images.double().square().mean(1).flatten(1).numpy().T  # pixels by images
    for conv, stride in zip(convs, STRIDES, strict=True):
        matrices.append(sums_over_pixels(math.isqrt(len(entering)), stride, padding))
        w, b = conv.weight.detach().double().numpy(), conv.bias.detach().double().numpy()
        q.append(w.shape[1] * (w**2).mean() * (matrices[-1] @ entering) + (b**2).mean())
        entering = c * q[-1]
    back, of_logits = way_back(net, images, labels, pixels=len(entering))
    gradients = [of_logits]
    for conv, matrix in zip(convs[::-1], matrices[::-1], strict=True):
        gradients.insert(0, (c * back).mean())
        w = conv.weight.detach().double().numpy()
        back = len(w) * (w**2).mean() * (matrix.T @ (c * back))

    prediction = predict(net, images, labels)
    expected = 0.5 * np.log10([values.mean() for values in q])
    np.testing.assert_allclose(prediction.pre_activation, expected, rtol=0, atol=1e-6)
    np.testing.assert_allclose(prediction.gradient, 0.5 * np.log10(gradients), rtol=0, atol=1e-6)


@pytest.mark.parametrize("padding", ["zeros", "circular"])
def test_linear_residual_nets_follow_matrices_of_pixel_sums(padding: str) -> None:
    """Squares of a branch and of what goes around it add up, forth and back; a stage's new channels
    have nothing that goes around. What is left is that z is sampled: of a million numbers, and most
    weight is on few images.
    """
    torch.manual_seed(0)
    net = plain_net(partial(nn.LeakyReLU, 1.0), skip=True, padding=padding, depth=14)
    init.gaussian(net, nn.ReLU, weight_variance=0.7, bias_variance=0.3)
    images, labels = batch(side=12)
    strides = [1, *[1, 1] * 2, *[2, 1, 1, 1] * 2]
    convs = [m for m in net.modules() if isinstance(m, nn.Conv2d)]
    entering = images.double().square().mean(1).flatten(1).numpy().T  # pixels by images
    sums, around, q, block = [], [], [], entering
    for i, (conv, stride) in enumerate(zip(convs, strides, strict=True)):
        side = math.isqrt(len(entering))
        sums.append(sums_over_pixels(side, stride, padding))
        w, b = conv.weight.detach().double().numpy(), conv.bias.detach().double().numpy()
        q.append(w.shape[1] * (w**2).mean() * (sums[-1] @ entering) + (b**2).mean())
        if i and i % 2 == 0:
            kept = np.arange(math.isqrt(len(block)) ** 2).reshape(2 * [math.isqrt(len(block))])
            around.append(np.eye(len(block))[kept[:: strides[i - 1], :: strides[i - 1]].ravel()])
            q[-1] = q[-1] + around[-1] @ block / strides[i - 1]  # the stride doubles the channels
        entering = q[-1]
        if i % 2 == 0:
            block = entering
    back, of_logits = way_back(net, images, labels, pixels=len(entering))
    gradients = [of_logits]
    for i in reversed(range(len(convs))):
        gradients.insert(0, back.mean())
        if i and i % 2 == 0:
            beside = around.pop().T @ back
        w = convs[i].weight.detach().double().numpy()
        back = len(w) * (w**2).mean() * (sums[i].T @ back)
        if i % 2 == 1:
            back = back + beside

    prediction = predict(net, images, labels)
    expected = 0.5 * np.log10([values.mean() for values in q])
    np.testing.assert_allclose(prediction.pre_activation, expected, rtol=0, atol=0.002)
    np.testing.assert_allclose(prediction.gradient, 0.5 * np.log10(gradients), rtol=0, atol=1e-6)


def test_corners_see_four_pixels_and_edges_six() -> None:
    net = plain_net()
    nn.init.constant_(net.stem.get_submodule("conv").weight, 1.0)  # type: ignore[arg-type]
    nn.init.zeros_(net.stem.get_submodule("conv").bias)  # type: ignore[arg-type]
    images = torch.ones(1, 3, 8, 8)
    mean = 3 * (36 * 9 + 24 * 6 + 4 * 4) / 64
    got = predict(net, images, torch.tensor([0])).pre_activation[0]
    assert got == pytest.approx(0.5 * math.log10(mean), abs=1e-12)


def test_circular_padding_has_no_border_so_one_pixel_tells_all() -> None:
    """One number a layer is left: q <- sigma_w^2 E[tanh(z)^2] + sigma_b^2, for a flat image."""
    torch.manual_seed(0)
    net = plain_net(nn.Tanh, padding="circular")
    init.gaussian(net, nn.Tanh, weight_variance=2.0, bias_variance=0.1)
    images = torch.full((2, 3, 8, 8), 0.7)
    z = torch.randn(2_000_000, dtype=torch.float64)
    squared, expected = 0.49, []
    for conv in (m for m in net.modules() if isinstance(m, nn.Conv2d)):
        sigma_w_2 = conv.weight[0].numel() * float(conv.weight.detach().square().mean())
        q = sigma_w_2 * squared + float(conv.bias.detach().square().mean())
        expected.append(0.5 * math.log10(q))
        squared = float((math.sqrt(q) * z).tanh().square().mean())
    got = predict(net, images, torch.tensor([0, 1])).pre_activation
    # Two million normal numbers leave a relative error of about 1e-3 in a second moment.
    assert got == pytest.approx(expected, abs=2e-3)


CASES: dict[str, tuple[Activation, dict[str, object], Callable[..., None]]] = {
    "relu": (nn.ReLU, {}, partial(init.kaiming_normal, gain=None, mode="fan_in")),
    "relu, too large": (nn.ReLU, {}, partial(init.kaiming_normal, gain=3.0, mode="fan_in")),
    "tanh": (nn.Tanh, {}, partial(init.gaussian, weight_variance=2.0, bias_variance=0.1)),
    "tanh, circular": (
        nn.Tanh,
        {"padding": "circular"},
        partial(init.gaussian, weight_variance=2.0, bias_variance=0.1),
    ),
    "sigmoid": (nn.Sigmoid, {}, partial(init.xavier_uniform, gain=1.0)),
    "selu": (
        nn.SELU,
        {"stem_stride": 2},
        partial(init.gaussian, weight_variance=1.0, bias_variance=0.0),
    ),
    "gelu": (nn.GELU, {}, partial(init.orthogonal, gain=None)),
    "rrelu": (nn.RReLU, {}, partial(init.kaiming_uniform, gain=None, mode="fan_out")),
    "default": (nn.ELU, {}, init.default),
    "residual relu": (
        nn.ReLU,
        {"skip": True},
        partial(init.kaiming_normal, gain=None, mode="fan_in"),
    ),
    "residual tanh": (
        nn.Tanh,
        {"skip": True, "padding": "circular", "depth": 20},
        partial(init.gaussian, weight_variance=3.0, bias_variance=0.1),
    ),
    "residual sigmoid": (
        nn.Sigmoid,
        {"skip": True, "depth": 20},
        partial(init.xavier_uniform, gain=1.0),
    ),
    "residual gelu": (
        nn.GELU,
        {"skip": True, "stem_stride": 2, "depth": 20},
        partial(init.gaussian, weight_variance=1.5, bias_variance=0.0),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_wide_nets_are_as_predicted_absolute_level_included(case: str) -> None:
    """Of 8 or 20 layers and 64 to 256 channels, mean over 3 nets; the first and the last layer may
    differ by 10 decades. What is left is chance: it falls with the width."""
    activation, changes, initializer = CASES[case]
    errors: list[list[float]] = []
    for seed in range(3):
        torch.manual_seed(seed)
        net = plain_net(activation, width=64, **changes)
        initializer(net, activation)
        images, labels = batch(count=10, side=16)
        prediction = predict(net, images, labels)
        z, gradient = measured(net, images, labels)
        assert prediction.layers == list(z)
        pre_activation = list(z.values())[:-1]  # without the logits
        errors.append(
            [a - b for a, b in zip(prediction.pre_activation, pre_activation, strict=True)]
            + [a - gradient[n] for n, a in zip(z, prediction.gradient, strict=True)]
        )
        if "rrelu" not in case:  # whose next pass draws other slopes
            assert prediction.gradient[-1] == pytest.approx(gradient["head"], abs=1e-4)
    assert torch.tensor(errors).mean(0).abs().max() < 0.08


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("norm", [lambda _: nn.Identity(), nn.BatchNorm2d])
def test_predicting_leaves_the_net_and_the_random_state_as_they_were(
    norm: Callable[[int], nn.Module], skip: bool
) -> None:
    net = plain_net(nn.RReLU, skip=skip, norm=norm)
    images, labels = batch()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    state = torch.get_rng_state()
    predict(net, images, labels)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(parameter.grad is None for parameter in net.parameters())


def test_black_images_and_vanished_gradients_give_no_nan() -> None:
    images, labels = batch()
    net = plain_net()
    init.gaussian(net, nn.ReLU, weight_variance=2.0, bias_variance=0.0)
    assert predict(net, 0 * images, labels).pre_activation[0] == -math.inf
    init.gaussian(net, nn.ReLU, weight_variance=1e-60, bias_variance=0.0)
    assert not any(math.isnan(value) for value in predict(net, images, labels).gradient)


def net_with_a_weight_in_its_shortcut() -> ConvNet:
    net = plain_net(skip=True)
    net.get_submodule("stages.1.0").register_module("shortcut", nn.Conv2d(4, 8, 1, stride=2))
    return net


def with_batch_norm(parameter: str, value: float) -> ConvNet:
    """A net with one norm whose `parameter` has this value in one channel."""
    net = plain_net(norm=nn.BatchNorm2d)
    with torch.no_grad():
        net.get_submodule("stages.1.0.norm2").get_parameter(parameter)[1] = value
    return net


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (net_with_a_weight_in_its_shortcut, "without weights, and stages.1.0.shortcut is a Conv2d"),
        (
            partial(plain_net, norm=partial(nn.GroupNorm, 1)),
            "batch norm or no norm, and stem.norm is a GroupNorm",
        ),
        (
            partial(plain_net, norm=nn.SyncBatchNorm),
            "batch norm or no norm, and stem.norm is a SyncBatchNorm",
        ),
        (
            lambda: plain_net(norm=nn.BatchNorm2d).eval(),
            "over the batch, and stem.norm uses running statistics",
        ),
        (
            partial(with_batch_norm, "weight", 0.0),
            "new norms, and stages.1.0.norm2 has weights not 1 or biases not 0",
        ),
        (
            partial(with_batch_norm, "bias", 0.1),
            "new norms, and stages.1.0.norm2 has weights not 1 or biases not 0",
        ),
    ],
)
def test_nets_beyond_the_theory_are_named_and_refused(
    make: Callable[[], ConvNet], message: str
) -> None:
    net = make()
    with pytest.raises(ValueError, match=message) as refusal:
        predict(net, *batch())
    assert applies(net) == str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_delta_orthogonal_weights_are_not_independent_and_all_others_are_taken_to_be() -> None:
    net = plain_net()
    init.delta_orthogonal(net, nn.ReLU, gain=1.0)
    assert applies(net) == (
        "the theory needs independent weights, and stem.conv has taps that are all 0"
    )
    init.orthogonal(net, nn.ReLU, gain=1.0)
    assert applies(net) is None


def a_rectified_resnet(
    depth: int, width: int, activation: Callable[[], nn.Module], seed: int = 0
) -> ConvNet:
    torch.manual_seed(seed)
    net = ConvNet(
        depth=depth, width=width, stem_stride=2, activation=activation, norm=lambda _: nn.Identity()
    )
    init.kaiming_normal(net, activation, gain=math.sqrt(2), mode="fan_in")
    return net


@pytest.mark.parametrize("activation", [nn.ReLU, partial(nn.LeakyReLU, 0.2)])
def test_the_error_along_each_blocks_output_is_conserved_by_eulers_theorem(
    activation: Callable[[], nn.Module],
) -> None:
    """The number that `predict` takes from the logits, against autograd's at every block."""
    net = a_rectified_resnet(20, 8, activation).double()
    nn.init.normal_(net.head.bias)
    x = torch.randn(4, 3, 32, 32, dtype=torch.float64)
    outputs: list[Tensor] = []

    def keep(block: nn.Module, inputs: object, output: Tensor) -> None:
        output.retain_grad()
        outputs.append(output)

    for stage in net.stages:
        for block in stage:
            block.register_forward_hook(keep)
    logits = net(x)
    logits.retain_grad()
    F.cross_entropy(logits, torch.arange(4)).backward()
    expected = ((logits - net.head.bias) * logits.grad).sum(dim=1).detach()
    assert len(outputs) == 9
    for output in outputs:
        assert output.grad is not None
        torch.testing.assert_close((output * output.grad).sum(dim=(1, 2, 3)).detach(), expected)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_the_error_along_the_output_adds_what_projecting_it_away_takes(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In decades of the first layer's dL/dz, of one net: so its own luck does not count."""
    x = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(seed))
    labels = torch.arange(8)
    net = a_rectified_resnet(56, 64, nn.ReLU, seed)
    kept: list[Tensor] = []
    handle = net.stem.activation.register_forward_pre_hook(lambda _, z: kept.append(z[0]))
    pooled = net.stages(net.stem(x)).mean(dim=(2, 3))
    handle.remove()
    logits = net.head(pooled)
    (error,) = torch.autograd.grad(F.cross_entropy(logits, labels), pooled, retain_graph=True)
    along = (error * pooled).sum(1, keepdim=True) / pooled.square().sum(1, keepdim=True) * pooled
    whole, without = (
        torch.autograd.grad(pooled, kept[0], start.detach(), retain_graph=True)[0]
        for start in (error, error - along)
    )
    taken = 0.5 * math.log10(float(whole.square().sum() / without.square().sum()))
    predicted = predict(net, x, labels).gradient[0]
    monkeypatch.setattr("lab.theory.predict._is_rectified", lambda layers: False)
    added = predicted - predict(net, x, labels).gradient[0]
    assert taken > 0.05
    assert added == pytest.approx(taken, rel=0.45)
