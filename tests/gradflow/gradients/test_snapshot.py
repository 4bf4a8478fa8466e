"""The rows of one step of parameters: gradients, clipped gradients, weights and updates."""

import math
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hand_passes import classification
from torch import Tensor, nn

from gradflow.gradients.histogram import measure
from gradflow.gradients.layers import LayerWatch
from gradflow.gradients.snapshot import Rows, Snapshot
from gradflow.training.clipping import AdaptiveClip, NoClip, NormClip, ValueClip

Clip = Callable[[nn.Module], None]


def small_net(phi: nn.Module | None = None) -> nn.Sequential:
    torch.manual_seed(0)
    conv, head = nn.Conv2d(3, 4, 3, bias=False), nn.Linear(4 * 36, 10)
    parts = {"conv": conv, "activation": phi or nn.ReLU(), "flatten": nn.Flatten(), "head": head}
    return nn.Sequential(OrderedDict(parts))


def one_step(
    net: nn.Module,
    optimizer: torch.optim.Optimizer,
    clip: Clip = NoClip(),  # noqa: B008 — frozen
    break_gradient: Callable[[nn.Module], None] | None = None,
    **options: Any,
) -> dict[str, Rows]:
    images, labels = classification(4, 8)
    optimizer.zero_grad()
    loss = F.cross_entropy(net(images.to(next(net.parameters()).dtype)), labels)
    loss.backward()
    if break_gradient is not None:
        break_gradient(net)
    snapshot = Snapshot(0, net, None, {"loss": loss.detach()}, **options)
    clip(net)
    optimizer.step()
    return {rows.kind: rows for rows in snapshot.read()}


def sgd(net: nn.Module, momentum: float = 0.9) -> torch.optim.Optimizer:
    return torch.optim.SGD(net.parameters(), lr=0.05, momentum=momentum)


def norms(tensors: list[Tensor]) -> list[float]:
    return [math.sqrt(math.fsum(t.detach().double().flatten().numpy() ** 2)) for t in tensors]


def copies(net: nn.Module) -> list[Tensor]:
    return [p.detach().clone() for p in net.parameters()]


def gradients(net: nn.Module) -> list[Tensor]:
    return [p.grad.clone() for p in net.parameters() if p.grad is not None]


def test_weights_and_updates_are_those_before_and_between_with_momentum() -> None:
    net = small_net()
    optimizer = sgd(net)
    one_step(net, optimizer)  # momentum is there
    before, velocity = (
        copies(net),
        [optimizer.state[p]["momentum_buffer"].clone() for p in net.parameters()],
    )
    rows = one_step(net, optimizer)
    np.testing.assert_allclose(rows["weight"].columns["norm"], norms(before), rtol=1e-12)
    changes = [new - old for new, old in zip(copies(net), before, strict=True)]
    np.testing.assert_allclose(rows["update"].columns["norm"], norms(changes), rtol=1e-12)
    by_rule = [-0.05 * (0.9 * v + g) for v, g in zip(velocity, gradients(net), strict=True)]
    np.testing.assert_allclose(rows["update"].columns["norm"], norms(by_rule), rtol=1e-4)
    elements = np.array([p.numel() for p in net.parameters()])
    for kind in ("weight", "update"):
        columns = rows[kind].columns
        np.testing.assert_allclose(columns["rms"], columns["norm"] / elements**0.5, rtol=1e-12)
        assert "bins" not in columns


def test_weight_histograms_are_those_of_the_weights_before_the_step() -> None:
    net = small_net()
    wanted = vars(measure(copies(net)))
    rows = one_step(net, sgd(net), weight_histograms=True)
    assert rows["weight"].columns.keys() == wanted.keys()
    for column, values in wanted.items():
        np.testing.assert_array_equal(rows["weight"].columns[column], values)


@pytest.mark.parametrize(
    "clip", [NormClip(1e-3), ValueClip(1e-4), AdaptiveClip(clip_factor=1e-3, eps=1e-3)]
)
def test_a_clipped_gradient_is_recorded_beside_the_one_before(clip: Clip) -> None:
    net, unclipped = small_net(), small_net()
    rows = one_step(net, sgd(net), clip)
    one_step(unclipped, sgd(unclipped))
    before, after = norms(gradients(unclipped)), norms(gradients(net))
    assert before[0] > 1.1 * after[0]
    np.testing.assert_allclose(rows["gradient"].columns["norm"], before, rtol=1e-12)
    columns = rows["clipped_gradient"].columns
    np.testing.assert_allclose(columns["norm"], after, rtol=1e-12)
    largest = [g.abs().max().item() for g in gradients(net)]
    np.testing.assert_array_equal(columns["max"], largest)


@pytest.mark.parametrize("clip", [NoClip(), NormClip(1e9), ValueClip(1e9), AdaptiveClip(1e9, 1e9)])
def test_what_clipping_leaves_alone_is_not_recorded_twice(clip: Clip) -> None:
    net = small_net()
    assert "clipped_gradient" not in one_step(net, sgd(net), clip)


def set_first(value: float, net: nn.Module) -> None:
    gradient = next(net.parameters()).grad
    assert gradient is not None
    gradient.view(-1)[0] = value


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize(("clip", "clipped"), [(NoClip(), False), (NormClip(1e-3), True)])
def test_a_gradient_that_is_not_finite_does_not_look_clipped(
    value: float, clip: Clip, clipped: bool
) -> None:
    """Norm clipping makes all gradients NaN then, or 0: they were changed."""
    net = small_net()
    rows = one_step(net, sgd(net), clip, partial(set_first, value))
    columns = rows["gradient"].columns
    assert (columns["nans"] + columns["infs"]).tolist() == [1, 0, 0]
    assert ("clipped_gradient" in rows) == clipped


def test_value_clipping_that_cuts_an_infinity_is_seen() -> None:
    net = small_net()
    rows = one_step(net, sgd(net), ValueClip(1e9), partial(set_first, math.inf))
    assert rows["clipped_gradient"].columns["max"][0] == 1e9


def test_weights_that_are_not_finite_are_null() -> None:
    net = small_net()
    with torch.no_grad():
        net[3].bias[0] = math.inf
    rows = one_step(net, sgd(net))
    for kind in ("weight", "update"):
        columns = rows[kind].columns
        assert math.isnan(columns["norm"][2])
        assert math.isnan(columns["rms"][2])
    assert math.isfinite(rows["weight"].columns["norm"][0])


def test_float64_weights_are_measured_in_float64() -> None:
    net = small_net().double()
    before = copies(net)
    rows = one_step(net, torch.optim.SGD(net.parameters(), lr=1e-12))
    changes = [new - old for new, old in zip(copies(net), before, strict=True)]
    np.testing.assert_allclose(rows["update"].columns["norm"], norms(changes), rtol=1e-9)
    assert (rows["update"].columns["norm"] > 0).all()


def test_gradients_that_were_freed_before_the_reading_are_not_clipped_ones() -> None:
    net = small_net()
    net(torch.randn(2, 3, 8, 8)).sum().backward()
    snapshot = Snapshot(0, net, None, {})
    net.zero_grad(set_to_none=True)
    assert [rows.kind for rows in snapshot.read()] == ["gradient", "weight", "update"]


def full_step(net: nn.Module, images: Tensor, labels: Tensor) -> list[Rows]:
    """Everything that can be measured in one step."""
    watch = LayerWatch(net, keep=("pre_activation", "activation"))
    watch.start()
    loss = F.cross_entropy(net(images), labels)
    loss.backward()
    snapshot = Snapshot(0, net, watch.collect(), {"loss": loss.detach()}, weight_histograms=True)
    watch.close()
    return snapshot.read()


def test_one_copy_brings_everything_to_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    images, labels = classification(4, 8)
    full_step(small_net(), images.float(), labels)  # what is computed once, is
    copied = []
    real = Tensor.cpu
    monkeypatch.setattr(Tensor, "cpu", lambda self: copied.append(self.numel()) or real(self))
    for method in ("item", "tolist", "__bool__", "__float__", "__int__"):
        monkeypatch.setattr(Tensor, method, lambda self, name=method: pytest.fail(name))
    rows = full_step(small_net(), images.float(), labels)
    assert len(copied) == 1
    assert {of_kind.kind for of_kind in rows} == {
        *("gradient", "weight", "update", "loss"),
        *("pre_activation", "pre_activation_gradient", "activation"),
    }


class ChannelwiseSquare(nn.Module):
    """No parameters, not torch.nn's own: its largest slope is looked for on the device."""

    def forward(self, x: Tensor) -> Tensor:
        return x * x


@pytest.mark.gpu
@pytest.mark.skipif(
    not torch.cuda.is_available(), reason="counts how often the host waits for CUDA"
)
@pytest.mark.parametrize("phi", [nn.ReLU(), nn.Sigmoid(), nn.PReLU(4), ChannelwiseSquare()])
def test_a_step_waits_for_the_device_once(phi: nn.Module, recwarn: pytest.WarningsRecorder) -> None:
    net = small_net(phi).cuda()
    images, labels = (x.cuda() for x in classification(4, 8))
    full_step(net, images.float(), labels)  # what is computed once, is
    torch.cuda.synchronize()
    recwarn.clear()
    torch.cuda.set_sync_debug_mode("warn")
    try:
        full_step(net, images.float(), labels)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    # Setting the mode warns too, once a process, that it does not see all synchronizing operations.
    assert sum("called a synchronizing" in str(warning.message) for warning in recwarn) == 1
