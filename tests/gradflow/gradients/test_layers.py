"""z and dL/dz of every layer, against passes written out by hand in float64."""

import copy
import math
import weakref
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hand_passes import classification, convnet_pass
from nets import ConvNet
from torch import Tensor, nn

from gradflow.gradients.layer_values import LayerValues
from gradflow.gradients.layers import ELEMENTS, FEATURES, IMAGES, LayerWatch
from gradflow.gradients.modules import is_nonlinearity


def convnet(**options: object) -> ConvNet:
    torch.manual_seed(0)
    settings = {"depth": 8, "width": 4, "activation": nn.Tanh, "norm": nn.BatchNorm2d} | options
    return ConvNet(**settings).double()  # type: ignore[arg-type]


def watched(
    net: nn.Module, images: Tensor, labels: Tensor, count: int | None = None
) -> LayerValues | None:
    watch = LayerWatch(net, images=count)
    watch.start()
    F.cross_entropy(net(images), labels).backward()
    values = watch.collect()
    watch.close()
    return values


def expected(zs: dict[str, Tensor], labels: Tensor, count: int | None = None) -> np.ndarray:
    """Norm and maximum of z and of dL/dz, of the first `count` images; of the logits, of all."""
    F.cross_entropy(list(zs.values())[-1], labels).backward()
    rows = []
    for z in zs.values():
        images = len(z) if z.ndim == 2 else count
        forward = z.detach()[:images].numpy()
        backward = np.full(1, np.nan) if z.grad is None else z.grad[:images].numpy()
        rows.append([f(x) for x in (forward, backward) for f in (norm, lambda x: np.abs(x).max())])
    return np.array(rows)


def norm(x: np.ndarray) -> float:
    return math.sqrt(math.fsum(x.flatten() ** 2))


@pytest.mark.parametrize("skip", [True, False])
@pytest.mark.parametrize("norm_layer", [nn.BatchNorm2d, partial(nn.GroupNorm, 2), nn.Identity])
@pytest.mark.parametrize("count", [None, IMAGES])
def test_every_layers_z_and_gradient_are_those_of_a_pass_by_hand(
    skip: bool, norm_layer: type[nn.Module], count: int | None
) -> None:
    net = convnet(skip=skip, norm=norm_layer)
    images, labels = classification(12, 16)
    zs = convnet_pass(copy.deepcopy(net), images)
    values = watched(net, images, labels, count)
    assert values is not None
    assert values.names == list(zs)
    assert values.names[:2] == ["stem.activation", "stages.0.0.activation1"]
    np.testing.assert_allclose(values.values[:, :4], expected(zs, labels, count), rtol=1e-10)
    counted = [z if z.ndim == 2 else z[:count] for z in zs.values()]
    assert values.elements == [z.numel() for z in counted]
    assert values.units == [4, 4, 4, 8, 8, 16, 16, 10]
    assert torch.isnan(values.values[-1, 4:]).all()


def test_a_large_layer_is_measured_on_fewer_images_and_on_one_at_least() -> None:
    for size, images in ((ELEMENTS // 3, 3), (2 * ELEMENTS, 1), (8, FEATURES)):
        net = nn.Sequential(nn.Flatten(), nn.ReLU(), nn.Linear(size, 2))
        watch = LayerWatch(net)
        watch.start()
        net(torch.ones(70, size))
        values = watch.collect()
        assert values is not None
        assert values.elements[0] == images * size


def test_a_float32_net_is_measured_within_its_own_rounding() -> None:
    """RMS of 1e-30: the squares underflow in float32."""
    net = convnet(norm=nn.Identity)
    images, labels = classification(4, 16)
    zs = convnet_pass(copy.deepcopy(net), 1e-30 * images)
    wanted = expected(zs, labels)
    values = watched(net.float(), 1e-30 * images.float(), labels)
    assert values is not None
    np.testing.assert_allclose(values.values[:, :4], wanted, rtol=1e-3)


def test_float64_is_measured_where_its_squares_underflow() -> None:
    values = watched(
        nn.Sequential(nn.ReLU(), nn.Linear(4, 2).double()),
        torch.full((2, 4), 1e-200, dtype=torch.float64),
        torch.zeros(2, dtype=torch.long),
    )
    assert values is not None
    np.testing.assert_allclose(values.values[0, 0], math.sqrt(8) * 1e-200, rtol=1e-12)


def test_layers_of_a_sequence_model_have_its_features_as_units() -> None:
    class Mixer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Linear(6, 8)
            self.up, self.act, self.down = nn.Linear(8, 32), nn.GELU(), nn.Linear(32, 8)
            self.norm, self.head = nn.LayerNorm(8), nn.Linear(8, 10)

        def forward(self, x: Tensor) -> Tensor:  # (B, T, 6)
            x = self.embed(x)
            x = x + self.down(self.act(self.up(self.norm(x))))
            logits: Tensor = self.head(x.mean(dim=1))
            return logits

    torch.manual_seed(0)
    net = Mixer().double()
    x, labels = torch.randn(3, 5, 6, dtype=torch.float64), torch.tensor([0, 1, 2])
    twin = copy.deepcopy(net)
    embedded = twin.embed(x)
    z = twin.up(twin.norm(embedded))
    logits = twin.head((embedded + twin.down(F.gelu(z))).mean(dim=1))
    z.retain_grad()
    logits.retain_grad()
    values = watched(net, x, labels)
    assert values is not None
    assert (values.names, values.units) == (["act", "head"], [32, 10])
    assert values.elements == [3 * 5 * 32, 3 * 10]
    wanted = expected({"act": z, "head": logits}, labels)
    np.testing.assert_allclose(values.values[:, :4], wanted, rtol=1e-10)


def test_nothing_below_frozen_layers_has_a_gradient() -> None:
    net = convnet(norm=nn.Identity)
    net.stem.requires_grad_(False)
    net.stages[0].requires_grad_(False)
    images, labels = classification(4, 16)
    values = watched(net, images, labels)
    assert values is not None
    assert values.has_gradient == [False] * 3 + [True] * 5
    assert torch.isnan(values.values[:3, 2:4]).all()
    assert torch.isfinite(values.values[:3, :2]).all()
    assert (values.values[3:, 2:4] > 0).all()


def test_validation_between_pass_and_backward_does_not_disturb() -> None:
    net = convnet(norm=nn.Identity)
    images, labels = classification(4, 16)
    wanted = expected(convnet_pass(copy.deepcopy(net), images), labels)
    watch = LayerWatch(net, images=None)
    watch.start()
    loss = F.cross_entropy(net(images), labels)
    with torch.no_grad():
        net(100 * images[:1])
    loss.backward()
    values = watch.collect()
    assert values is not None
    np.testing.assert_allclose(values.values[:, :4], wanted, rtol=1e-10)


def test_identity_is_seen_where_its_name_says_that_it_is_an_activation() -> None:
    values = watched(convnet(activation=nn.Identity), *classification(4, 16))
    assert values is not None
    assert len(values.names) == 8


def test_an_activation_that_works_in_place_is_measured_before_and_after() -> None:
    phi = nn.ReLU(inplace=True)
    net = nn.Sequential(nn.Linear(3, 4), phi, nn.Linear(4, 4), phi, nn.Linear(4, 2)).double()
    x = torch.randn(5, 3, dtype=torch.float64)
    first = net[0](x)
    second = net[2](first.clamp(min=0))
    watch = LayerWatch(net, images=None, keep=("pre_activation", "activation"))
    watch.start()
    net(x).sum().backward()
    values = watch.collect()
    assert values is not None
    assert values.names == ["1", "1#2", "4"]
    for kind, clamp in (("pre_activation", -math.inf), ("activation", 0.0)):
        for name, z in (("1", first), ("1#2", second)):
            torch.testing.assert_close(values.tensors[kind][name], z.detach().clamp(min=clamp))
    assert list(values.tensors["activation"]) == ["1", "1#2"]  # logits enter no nonlinearity


def test_each_pass_that_is_measured_replaces_the_one_before() -> None:
    net = convnet(norm=nn.Identity)
    first, second = classification(4, 16), classification(4, 16, seed=6)
    wanted = expected(convnet_pass(copy.deepcopy(net), second[0]), second[1])
    watch = LayerWatch(net, images=None)
    for images, labels in (first, second):
        watch.start()
        F.cross_entropy(net(images), labels).backward()
    values = watch.collect(factor=3)
    assert values is not None
    np.testing.assert_allclose(values.values[:, :2], wanted[:, :2], rtol=1e-10)
    np.testing.assert_allclose(values.values[:, 2:4], 3 * wanted[:, 2:], rtol=1e-10)
    assert watch.collect() is None


def test_a_pass_that_is_not_measured_leaves_nothing() -> None:
    net = convnet()
    watch = LayerWatch(net)
    images, labels = classification(4, 16)
    F.cross_entropy(net(images), labels).backward()
    assert watch.collect() is None


class FunctionalNet(nn.Module):
    """Nonlinearities as modules and as functions, and attention."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleList(nn.Linear(4, 4) for _ in range(4))
        self.activation = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        x = self.activation(self.parts[0](x))
        x = F.sigmoid(self.parts[1](x))
        x = F.softmax(self.parts[2](x), dim=-1) @ x[:4]
        return self.parts[3](x)


def test_no_pre_activation_lives_longer_than_in_an_unwatched_pass() -> None:
    net, outputs = FunctionalNet(), list[weakref.ref[Tensor]]()
    for part in net.parts:
        part.register_forward_hook(lambda _, __, output: outputs.append(weakref.ref(output)))
    watch = LayerWatch(net)
    watch.start()
    logits = net(torch.randn(4, 4))
    assert [output() is not None for output in outputs] == [False, False, False, True]
    watch.enter_backward(loss := logits.square().mean())
    loss.backward()
    layers = watch.collect()
    assert layers is not None
    assert layers.names == ["activation", "sigmoid", "parts.3"]


@pytest.mark.parametrize("end", ["close", "collect", "stop"])
def test_there_are_hooks_only_while_a_pass_is_measured(end: str) -> None:
    net = convnet()
    watch = LayerWatch(net, keep=("activation",))
    before = [module._forward_pre_hooks for module in net.modules()]
    after = [module._forward_hooks for module in net.modules()]
    assert not any(before + after)
    watch.start()
    assert any(before)
    assert all(after)
    getattr(watch, end)()
    assert not any(before + after)


def test_of_a_net_without_nonlinearities_the_output_is_measured() -> None:
    net = nn.Sequential(nn.Flatten(), nn.LayerNorm(10))
    values = watched(net, torch.randn(4, 10), torch.zeros(4, dtype=torch.long))
    assert values is not None
    assert (values.names, values.units) == (["output"], [10])


def test_watching_does_not_break_the_graph_of_a_net_that_is_compiled_in_place() -> None:
    net = nn.Sequential(nn.Linear(10, 6), nn.ReLU(), nn.Linear(6, 3))
    net.compile(backend="eager", fullgraph=True)
    assert watched(net, torch.randn(4, 10), torch.zeros(4, dtype=torch.long)) is None


@pytest.mark.parametrize(
    "net",
    [
        nn.Sequential(nn.Linear(3, 1), nn.Flatten(0), nn.Sigmoid()),  # z of shape (B,)
        nn.Sequential(nn.Linear(3, 1), nn.Flatten(0), nn.PReLU()),
        nn.Sequential(nn.Conv1d(1, 4, 2, padding=1), nn.PReLU(4), nn.Flatten(), nn.Linear(16, 2)),
        nn.Sequential(nn.Conv1d(1, 4, 2, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2)),
    ],
)
def test_unusual_shapes_are_measured(net: nn.Module) -> None:
    watch = LayerWatch(net)
    watch.start()
    x = torch.randn(4, 3) if isinstance(net[0], nn.Linear) else torch.randn(4, 1, 3)
    net(x).sum().backward()
    values = watch.collect()
    assert values is not None
    nonlinearity = next(n for n, m in net.named_modules() if n and is_nonlinearity(n, m))
    assert torch.isfinite(values.values[values.names.index(nonlinearity)]).all()


def test_a_scalar_and_an_empty_batch_do_not_break_a_pass() -> None:
    class Tempered(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.temperature, self.softplus = nn.Parameter(torch.tensor(2.0)), nn.Softplus()
            self.relu, self.head = nn.ReLU(), nn.Linear(3, 2)

        def forward(self, x: Tensor) -> Tensor:
            self.relu(x[:0])
            logits: Tensor = self.head(x) / self.softplus(self.temperature)
            return logits

    values = watched(Tempered(), torch.randn(4, 3), torch.zeros(4, dtype=torch.long))
    assert values is not None
    # What enters the loss is not what the head returns.
    assert dict(zip(values.names, values.elements, strict=True)) == {"softplus": 1, "output": 8}
    assert values.values[values.names.index("softplus"), 0] == 2
