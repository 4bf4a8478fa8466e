"""Compiled parts in any place of a net, called in any way, against the same net in eager mode."""

import copy
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from gradflow.gradients.layer_values import LayerValues
from gradflow.gradients.layers import LayerWatch
from gradflow.gradients.origin import Origin

pytestmark = pytest.mark.slow


class Steps(nn.Module):
    """A part that takes a keyword, draws, counts, and gives an output that is not used."""

    calls: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.first, self.relu = nn.Linear(6, 6), nn.ReLU(inplace=True)
        self.dropout, self.tanh = nn.Dropout(0.5), nn.Tanh()
        self.register_buffer("calls", torch.ones(()))

    def forward(self, x: Tensor, *, scale: Tensor) -> dict[str, Tensor]:
        self.calls += 1
        h = self.dropout(self.relu(self.first(x) * scale + self.calls))
        return {"out": self.first(h), "unused": self.tanh(h)}


class Twice(nn.Module):
    """A part between layers of its own, called twice; the last weight layer is outside."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.part, self.between = nn.Sigmoid(), Steps(), nn.Tanh()
        self.unused, self.head = nn.Tanh(), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        scale = torch.tensor(2.0)
        first = self.part(self.before(x), scale=scale)
        self.unused(first["unused"])
        h = self.between(first["out"])
        return self.head(self.part(h, scale=scale)["out"])  # type: ignore[no-any-return]


class Shared(nn.Sequential):
    """A part that has a module in common with what is outside of it."""

    def __init__(self) -> None:
        tanh = nn.Tanh()
        super().__init__(tanh, nn.Sequential(nn.Linear(6, 6), tanh), nn.Linear(6, 3))


class InPlace(nn.Sequential):
    """A part that begins by overwriting its input, whose weights are frozen."""

    def __init__(self) -> None:
        part = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(6, 6), nn.BatchNorm1d(6), nn.Tanh())
        super().__init__(nn.Linear(6, 6), part.requires_grad_(False), nn.Linear(6, 3))


def torch_compile(module: nn.Module) -> nn.Module:
    return torch.compile(module, backend="aot_eager")  # type: ignore[return-value]


def in_place(module: nn.Module) -> nn.Module:
    module.compile(backend="aot_eager")
    return module


def nested(module: nn.Module) -> nn.Module:
    for name, inner in module.named_children():
        if isinstance(inner, (nn.Linear, nn.BatchNorm1d)):
            setattr(module, name, torch_compile(inner))
    return torch_compile(module)


def measured(net: nn.Module, watch: LayerWatch | None = None) -> LayerValues:
    torch.manual_seed(0)
    x = torch.randn(5, 6, generator=torch.Generator().manual_seed(1))
    watch = watch or LayerWatch(net)
    watch.start()
    loss = net(x).square().sum()
    watch.enter_backward()
    loss.backward()
    watch.leave_backward()
    values = watch.collect()
    watch.close()
    assert values is not None
    return values


@pytest.fixture(autouse=True)
def nothing_compiled_before() -> None:
    torch._dynamo.reset()


@pytest.mark.parametrize("compiled", [torch_compile, in_place, nested])
@pytest.mark.parametrize(
    ("kind", "part", "last", "count"),
    [(Twice, "part", "head", 7), (InPlace, "1", "2", 3), (Shared, "1", "2", 3)],
)
def test_layers_before_in_and_behind_a_part_are_those_of_the_eager_net(
    kind: type[nn.Module],
    part: str,
    last: str,
    count: int,
    compiled: Callable[[nn.Module], nn.Module],
) -> None:
    torch.manual_seed(0)
    net = kind()
    eager = copy.deepcopy(net)
    setattr(net, part, compiled(net.get_submodule(part)))
    found, wanted = measured(net), measured(eager)
    assert found.names == wanted.names
    assert (found.names[-1], len(found.names)) == (last, count)
    assert found.has_gradient == wanted.has_gradient
    np.testing.assert_allclose(found.values, wanted.values, rtol=1e-5)
    for one, other in zip(net.parameters(), eager.parameters(), strict=True):
        assert (one.grad is None) == (other.grad is None)
        if one.grad is not None:
            torch.testing.assert_close(one.grad, other.grad)
    for one, other in zip(net.buffers(), eager.buffers(), strict=True):
        torch.testing.assert_close(one, other)


def test_a_part_is_not_watched_without_gradients_and_its_inputs_are_let_go() -> None:
    part = torch_compile(nn.Sequential(nn.Linear(6, 3), nn.ReLU()))
    watch = LayerWatch(nn.Sequential(part))
    watch.start()
    with torch.no_grad():
        part(torch.ones(2, 6))
    assert watch.collect() is None
    origin = Origin(nn.Sequential(part))
    origin.open()
    part(torch.full((2, 6), torch.inf))
    assert origin.find() == "0.1"  # the nonlinearity, whose input is infinite
    part(torch.full((2, 6), torch.inf))
    origin.forget()
    assert origin.find() is None


@pytest.mark.distributed
def test_ddp_inside_a_part_is_bypassed(tmp_path: Path, one_process: None) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 3))
    wanted = measured(copy.deepcopy(net))
    found = measured(torch_compile(DistributedDataParallel(net)))
    assert found.names == [f"module.{name}" for name in wanted.names]
    np.testing.assert_allclose(found.values, wanted.values, rtol=1e-5)


@pytest.fixture
def one_process(tmp_path: Path) -> Iterator[None]:
    store = dist.FileStore(str(tmp_path / "store"), 1)
    dist.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.parametrize("processes", [1, 2])
def test_what_waits_for_other_processes_is_not_passed_again(
    monkeypatch: pytest.MonkeyPatch, processes: int
) -> None:
    """Checked when watching begins; the pass itself waits for no other process."""
    net = nn.Sequential(
        torch.compile(nn.Sequential(nn.SyncBatchNorm(6), nn.ReLU()), backend="eager"),  # type: ignore[arg-type]
        *(nn.Tanh(), nn.Linear(6, 3)),
    )
    with monkeypatch.context() as context:
        context.setattr(dist, "is_initialized", lambda: True)
        context.setattr(dist, "get_world_size", lambda: processes)
        watch = LayerWatch(net)
    assert measured(net, watch).names == (["0.1"] if processes == 1 else []) + ["1", "2"]
