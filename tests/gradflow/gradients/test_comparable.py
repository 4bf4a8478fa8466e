"""Which change over the layers is one of the signal: profiles made by hand, and real nets."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from flows import flow
from torch import Tensor, nn

from gradflow.gradients.causes import vanishing
from gradflow.gradients.comparable import gradient_change, signal_change
from gradflow.gradients.flow import Flow
from gradflow.gradients.layers import LayerWatch
from gradflow.gradients.snapshot import Snapshot, flow_of_rows

INF = math.inf


def made(**changes: Any) -> Flow:
    """Four layers in a row, and the logits; columns of the structure may be given, too."""
    structure = {
        "positions": [1.0] * 5,
        "normalized": [0.0] * 5,
        "before": [0, 1, 2, 3, math.nan],
        "behind": [3, 2, 1, 0, math.nan],
        "bypassed": [0, 0, 0, 0, math.nan],
    }
    for column in list(changes):
        if column in structure:
            structure[column] = [*changes.pop(column), math.nan]
    n = [0.0] * 5
    return flow(
        layers=["a", "b", "c", "d", "logits"],
        pre_activation=np.array(changes.pop("z", n)),
        gradient=np.array(changes.pop("gradient", n)),
        dead=np.array(n),
        saturated=np.array(n),
        structure={column: np.array(values, float) for column, values in structure.items()},
    )


def test_in_a_plain_row_the_ends_are_compared() -> None:
    assert gradient_change(made(gradient=[-6, -5, -4, -3, 0])) == -3
    assert signal_change(made(z=[0, -1, -2, -3.5, 0])) == -3.5


@pytest.mark.parametrize(
    ("last", "change"),
    [
        (-3.0, 0.0),  # 64 pixels lie between: an average would explain 1.8 decades, a stride 0.9
        (-4.0 + 0.5 * math.log10(64), 0.0),
        (-4.0 + math.log10(64), 0.0),
        (-4.0 + 1.5 * math.log10(64), -0.5 * math.log10(64)),  # more than an average explains
        (-4.0, 0.5 * math.log10(64)),  # less than a stride explains: it grows
    ],
)
def test_what_pooling_may_explain_is_no_change(last: float, change: float) -> None:
    pooled = made(gradient=[-4.0, -4.0, last, last, 0], positions=[64, 64, 1, 1])
    assert gradient_change(pooled) == pytest.approx(change, abs=1e-12)


def test_a_normalization_makes_up_for_what_z_lost_before_it() -> None:
    z, gradient = [0, 0, -3, -3, -3], [-4, -4, -1, -1, 0]
    plain = made(z=z, gradient=gradient)
    assert (gradient_change(plain), signal_change(plain)) == (-3, -3)
    between = made(z=z, gradient=gradient, normalized=[0, 0, 1, 0])
    assert (gradient_change(between), signal_change(between)) == (0, 0)
    behind = made(z=z, gradient=gradient)
    behind.structure["normalized"][4] = 1.0
    assert signal_change(behind) == 0


def test_a_bypassed_layer_is_not_compared_with_those_on_every_path() -> None:
    closed = made(gradient=[-4, -9, -4, -9, 0], z=[0, -9, 0, -9, 0], bypassed=[0, 1, 0, 1])
    assert (gradient_change(closed), signal_change(closed)) == (0, 0)


def test_of_parallel_layers_one_is_enough() -> None:
    """a and b both get the input; c and d both end at the output."""
    row = {"before": [0, 0, 1, 1], "behind": [1, 1, 0, 0], "bypassed": [1, 1, 1, 1]}
    branches = made(gradient=[-9, -4, -4, -9, 0], z=[0, -9, -9, 0, 0], **row)
    assert (gradient_change(branches), signal_change(branches)) == (0, 0)


def test_layers_of_which_none_follows_another_cannot_be_compared() -> None:
    row = {"before": [0, 0, 0, 0], "behind": [0, 0, 0, 0], "bypassed": [1, 1, 1, 1]}
    assert math.isnan(gradient_change(made(gradient=[-9, -4, 0, 3, 0], **row)))


def test_a_record_without_structure_is_compared_as_it_is() -> None:
    older = flow(gradient=[-9.0, -7.0, -4.0, -2.0], pre_activation=[0.0, -1.0, -2.0, 0.0])
    assert (gradient_change(older), signal_change(older)) == (-5, -2)


def test_what_is_exactly_0_is_infinitely_small() -> None:
    assert gradient_change(made(gradient=[-INF, -INF, -4, -4, 0])) == -INF
    assert signal_change(made(z=[0, 0, 0, -INF, 0])) == -INF


def of_net(net: nn.Module, x: Tensor) -> Flow:
    """The flow of one pass, measured by the monitor's own parts."""
    watch = LayerWatch(net)
    watch.start()
    loss = nn.functional.cross_entropy(net(x), torch.arange(len(x)) % 10)
    watch.enter_backward(loss)
    loss.backward()
    return flow_of_rows(0, Snapshot(0, net, watch.collect(), {"loss": loss.detach()}).read())


class Residual(nn.Module):
    """Blocks around a skip connection, between a stem and a head with activations of their own."""

    def __init__(self, gate: float) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Linear(64, 64), nn.ReLU())
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64)) for _ in range(4)
        )
        self.head = nn.Sequential(nn.ReLU(), nn.Linear(64, 10))
        self.gate = gate

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = x + self.gate * block(x)
        return self.head(x)  # type: ignore[no-any-return]


class Branches(nn.Module):
    """A branch whose output is a millionth beside one as usual."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU())
        self.tiny = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU())
        self.head = nn.Linear(128, 10)
        with torch.no_grad():
            for parameter in self.tiny.parameters():
                parameter.mul_(1e-6)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.cat([self.one(x), self.tiny(x)], dim=1))  # type: ignore[no-any-return]


def pooled() -> nn.Module:
    """A global mean over 1024 pixels before hidden dense layers."""
    convolutions = [nn.Conv2d(3, 16, 3, padding=1), nn.ReLU()]
    dense = [nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)]
    return nn.Sequential(*convolutions, nn.AdaptiveAvgPool2d(1), nn.Flatten(), *dense)


def normalized() -> nn.Module:
    """Weights that shrink from layer to layer, each made up for by a norm behind the activation."""
    layers: list[nn.Module] = []
    for i in range(4):
        linear = nn.Linear(64, 64)
        with torch.no_grad():
            linear.weight.mul_(10.0**-i)
            linear.bias.zero_()
        layers += [linear, nn.ReLU(), nn.LayerNorm(64, eps=0)]
    return nn.Sequential(*layers, nn.Linear(64, 10))


@pytest.mark.parametrize(
    ("net", "x"),
    [
        (Residual(1e-5), torch.randn(16, 64)),
        (Residual(0.0), torch.randn(16, 64)),
        (Branches(), torch.randn(16, 64)),
        (pooled(), torch.randn(16, 3, 32, 32)),
        (normalized(), torch.randn(16, 64)),
    ],
    ids=["almost closed gates", "closed gates", "a tiny branch", "pooled", "normalized"],
)
def test_real_nets_that_are_well_neither_vanish_nor_freeze(net: nn.Module, x: Tensor) -> None:
    found = of_net(net, x)
    assert found.structure["before"][0] == 0
    for change in (gradient_change(found), signal_change(found)):
        assert not abs(change) > 1.2


def test_a_real_net_whose_gradient_vanishes_still_does() -> None:
    layers = [m for _ in range(10) for m in (nn.Linear(64, 64), nn.Sigmoid())]
    found = of_net(nn.Sequential(*layers, nn.Linear(64, 10)), torch.randn(16, 64))
    assert gradient_change(found) < -4


def test_the_evidence_gives_the_change_as_recorded_and_what_pooling_leaves_of_it() -> None:
    pooled = made(gradient=[-12.0, -9, -4, -2, 0], positions=[64, 64, 1, 1])
    found = vanishing(pooled)
    assert found is not None
    assert found.evidence == (
        "dL/dz shrinks by 10.0 decades from d back to a, "
        "8.2 of them beyond what pooling and norms explain"
    )
    plain = vanishing(made(gradient=[-12.0, -9, -4, -2, 0]))
    assert plain is not None
    assert plain.evidence == "dL/dz shrinks by 10.0 decades from d back to a, 3.33 a layer"
