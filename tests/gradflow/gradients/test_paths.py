"""Where each layer lies between the input and the loss, against places counted by hand."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from gradflow.gradients.layers import LayerWatch
from gradflow.gradients.paths import Place


def where(net: nn.Module, *inputs: Tensor) -> dict[str, Place | None]:
    """Return the place of every layer of a pass, but the logits."""
    watch = LayerWatch(net)
    watch.start()
    loss = net(*(inputs or (torch.randn(4, 6),))).square().sum()
    watch.enter_backward(loss)
    loss.backward()
    found = watch.collect()
    assert found is not None
    return dict(zip(found.names[:-1], found.places[:-1], strict=True))


class Net(nn.Module):
    """A net whose pass is a function of it; its linear layers have 6 units and no other."""

    def __init__(self, call: Callable[["Net", Tensor], Tensor], linear: int = 6) -> None:
        super().__init__()
        self.w = nn.ModuleList(nn.Linear(6, 6) for _ in range(linear))
        self.phi = nn.ModuleList(nn.ReLU() for _ in range(linear))
        self.norm = nn.LayerNorm(6)
        self.rho = nn.Parameter(torch.randn(6, 6))
        self._pass = call

    def forward(self, x: Tensor) -> Tensor:
        return self._pass(self, x)

    def block(self, i: int, x: Tensor) -> Tensor:
        found: Tensor = self.phi[i](self.w[i](x))
        return found


def in_a_row(net: Net, x: Tensor) -> Tensor:
    return net.w[3](net.block(2, net.block(1, net.block(0, x))))  # type: ignore[no-any-return]


def residual(net: Net, x: Tensor) -> Tensor:
    """A stem, two blocks with a nonlinearity inside and one behind each addition."""
    x = net.block(0, x)
    x = net.phi[2](x + net.w[2](net.block(1, x)))
    x = net.phi[4](x + net.w[4](net.block(3, x)))
    return net.w[5](x)  # type: ignore[no-any-return]


def pre_activation(net: Net, x: Tensor) -> Tensor:
    """Each branch begins with its nonlinearity; none lies on the way of the skip connections."""
    x = net.w[0](x)
    for i in (1, 2, 3):
        x = x + net.w[i](net.phi[i](x))
    return net.w[4](x)  # type: ignore[no-any-return]


def branches(net: Net, x: Tensor) -> Tensor:
    """One nonlinearity beside two in a row."""
    return net.w[3](net.block(0, x) + net.block(2, net.block(1, x)))  # type: ignore[no-any-return]


def of_weights(net: Net, x: Tensor) -> Tensor:
    """Softplus of a parameter is no layer of the net."""
    return net.w[1](net.block(0, x) @ F.softplus(net.rho))  # type: ignore[no-any-return]


def in_place(net: Net, x: Tensor) -> Tensor:
    x = F.relu(net.w[0](x), inplace=True)
    x = F.relu(net.w[1](x) + x, inplace=True)
    return net.w[2](x)  # type: ignore[no-any-return]


def checkpointed(net: Net, x: Tensor) -> Tensor:
    x = checkpoint(net.block, 0, x, use_reentrant=False)
    return net.w[2](x + checkpoint(net.block, 1, x, use_reentrant=False))  # type: ignore[no-any-return]


def reentrant(net: Net, x: Tensor) -> Tensor:
    x = checkpoint(net.block, 0, x.requires_grad_(), use_reentrant=True)
    return net.w[2](x + checkpoint(net.block, 1, x, use_reentrant=True))  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("call", "wanted"),
    [
        (in_a_row, {"phi.0": (0, 2, False), "phi.1": (1, 1, False), "phi.2": (2, 0, False)}),
        (
            residual,
            {
                "phi.0": (0, 4, False),
                "phi.1": (1, 3, True),
                "phi.2": (2, 2, False),
                "phi.3": (3, 1, True),
                "phi.4": (4, 0, False),
            },
        ),
        (pre_activation, {"phi.1": (0, 2, True), "phi.2": (1, 1, True), "phi.3": (2, 0, True)}),
        (branches, {"phi.0": (0, 0, True), "phi.1": (0, 1, True), "phi.2": (1, 0, True)}),
        (of_weights, {"phi.0": (0, 0, False)}),
        (in_place, {"relu": (0, 1, False), "relu#2": (1, 0, False)}),
        (checkpointed, {"phi.0": (0, 1, False), "phi.1": (1, 0, True)}),
        # Its graph does not connect the layers.
        (reentrant, {"phi.0": (0, 1, False), "phi.1": (1, 0, False)}),
    ],
)
def test_each_layer_has_its_place(
    call: Callable[[Net, Tensor], Tensor], wanted: dict[str, tuple[int, int, bool]]
) -> None:
    assert where(Net(call)) == wanted


def test_two_inputs_are_both_inputs() -> None:
    class Towers(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 6), nn.Tanh())
            self.right = nn.Sequential(nn.Linear(6, 6), nn.Tanh())

        def forward(self, left: Tensor, right: Tensor) -> Tensor:
            return self.left(left) * self.right(right)  # type: ignore[no-any-return]

    places = where(Towers(), torch.randn(4, 6), torch.randn(4, 6))
    assert places == {"left.1": (0, 1, True), "left.3": (1, 0, True), "right.1": (0, 0, True)}


@pytest.mark.parametrize(
    "norm",
    [
        lambda net, x: net.norm(x),
        lambda net, x: F.layer_norm(x, (6,)),
        lambda net, x: F.normalize(x),
    ],
)
def test_a_normalization_between_two_layers_is_noted(norm: Callable[[Net, Tensor], Tensor]) -> None:
    net = Net(lambda net, x: net.w[2](net.block(1, norm(net, net.block(0, x)))))
    watch = LayerWatch(net)
    watch.start()
    net(torch.randn(4, 6)).sum().backward()
    found = watch.collect()
    assert found is not None
    assert found.normalized == [False, True, False]


def test_positions_are_the_pixels_or_tokens_of_a_unit() -> None:
    net = nn.Sequential(
        *(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        *(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3)),
    )
    watch = LayerWatch(net)
    watch.start()
    net(torch.randn(2, 1, 8, 8)).sum().backward()
    found = watch.collect()
    assert found is not None
    assert found.positions == [36, 1, 1]
    watch = LayerWatch(net := nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3)))
    watch.start()
    net(torch.randn(2, 7, 4)).sum().backward()
    found = watch.collect()
    assert found is not None
    assert found.positions == [7, 7]


def test_a_net_that_is_unfrozen_or_rewired_has_the_places_of_each_step() -> None:
    net = Net(in_a_row)
    watch = LayerWatch(net)

    def now() -> list[Place | None]:
        watch.start()
        loss = net(torch.randn(4, 6)).square().sum()
        watch.enter_backward(loss)
        loss.backward()
        found = watch.collect()
        assert found is not None
        return found.places[:-1]

    for parameter in net.w[:2].parameters():  # type: ignore[union-attr]
        parameter.requires_grad_(False)
    assert now() == [None, None, (0, 0, False)]
    for parameter in net.parameters():
        parameter.requires_grad_()
    assert now() == [(0, 2, False), (1, 1, False), (2, 0, False)]
    net._pass = lambda net, x: net.w[3](net.block(0, x) + net.block(1, x) + net.block(2, x))
    assert now() == [(0, 0, True), (0, 0, True), (0, 0, True)]
