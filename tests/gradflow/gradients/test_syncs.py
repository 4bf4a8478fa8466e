"""How often the monitor makes the host wait for the device, counted without a device.

The net trains on torch's "meta" device: shapes without values. So the monitor takes the same path
as on an accelerator, and every operation that needs a value on the host is seen by name. These are
the operations that torch itself marks as depending on data (`item`, `bool`, `equal`, `nonzero`,
`bincount`, masks as indices), and the copies between host and device, in either direction.

What this cannot see: waits inside a kernel or a driver, such as a `scatter_add_` that a device
implements with a wait; waits of Lightning's own precision plugins, which act on real devices only;
an explicit `torch.cuda.synchronize()`; compiled nets; and a path that asks for "cuda" by name.
All values read are 1, so nothing that happens after a bad value is tried, and nothing is timed.
`make gpu` counts on a real device.
"""

from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import SingleDeviceStrategy
from tiny_run import BATCH, TinyCNN, fit
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.data import DataLoader

from gradflow.gradients import snapshot
from gradflow.gradients.monitor import HISTOGRAMS, GradientMonitor

META = torch.device("meta")
STEPS, EVERY = 7, 3
RECORDED = [0, 3, 6]


class Waits(TorchDispatchMode):
    """Note the operations that would wait for the device, and answer them with ones."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        on_device = [x for x in tensors if x.is_meta]
        name = func.overloadpacket.__name__
        if func is torch.ops.aten._to_copy.default:
            target = kwargs.get("device") or tensors[0].device
            if target.type != tensors[0].device.type:
                self.names.append(f"copy to {target.type}")
                dtype = kwargs.get("dtype") or tensors[0].dtype
                return torch.ones(tensors[0].shape, dtype=dtype, device=target)
        elif func is torch.ops.aten.copy_.default:
            if tensors[0].is_meta != tensors[1].is_meta:
                self.names.append(f"copy to {tensors[0].device.type}")
                return tensors[0]
        elif func is torch.ops.aten.lift_fresh.default:  # torch.tensor(), or a list as an index
            self.names += ["copy to meta"] * len(on_device)
        elif on_device and name in ("index", "index_put", "index_put_"):
            # torch marks every index, but only a mask has to be counted on the host.
            if any(x is not None and x.dtype == torch.bool for x in tree_leaves(args[1])):
                self.names.append(name)
        elif on_device and _MARKS & set(func.tags):
            self.names.append(name)
            if func is torch.ops.aten._local_scalar_dense.default:
                return 1.0
        return func(*args, **kwargs)


_MARKS = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}


class PerStep(Callback):
    """Sort the waits by the step in which they occur; -1 before and after training."""

    def __init__(self, waits: Waits) -> None:
        self.found: dict[int, list[str]] = defaultdict(list)
        self._waits = waits

    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        self._waits.names = self.found[trainer.global_step]

    def on_train_end(self, *_: Any) -> None:
        self._waits.names = self.found[-1]


class OnMeta(SingleDeviceStrategy):
    """Train on the meta device, and leave the net there."""

    def __init__(self) -> None:
        super().__init__(META)

    def setup_environment(self) -> None:
        pass

    def teardown(self) -> None:
        pass


def waits_by_step(
    folder: Path,
    monitor: GradientMonitor | None,
    module: LightningModule | None = None,
    **options: Any,
) -> dict[int, list[str]]:
    """Train STEPS steps on the meta device, and return the names of the waits of each step."""
    images = torch.empty(BATCH, 3, 8, 8, device=META)
    labels = torch.empty(BATCH, dtype=torch.int64, device=META)
    data: Any = DataLoader([(images, labels)] * STEPS, batch_size=None)  # type: ignore[arg-type]
    with Waits() as waits:
        counted = PerStep(waits)
        fit(
            folder,
            module,
            every_n_steps=None,
            callbacks=(counted, *([monitor] if monitor else [])),
            data=data,
            strategy=OnMeta(),
            max_steps=STEPS,
            **options,
        )
    assert sorted(counted.found) == [-1, *range(STEPS)]
    return counted.found


@pytest.fixture(autouse=True)
def _without_data_is_measurable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The monitor leaves out parameters on the meta device: here they stand for real ones."""
    monkeypatch.setattr(snapshot, "unmeasurable", lambda parameter: None)


def own_waits(monitor: GradientMonitor, folder: Path, **options: Any) -> dict[int, list[str]]:
    """Return the waits that a run without a monitor does not have."""
    bare = waits_by_step(folder / "bare", None, **options)
    assert not any(bare.values())
    return waits_by_step(folder / "watched", monitor, **options)


@pytest.mark.parametrize("histograms", [(), HISTOGRAMS])
@pytest.mark.parametrize("clip", [None, 0.5])
def test_an_ordinary_step_waits_never_and_a_record_once(
    tmp_path: Path, histograms: tuple[str, ...], clip: float | None
) -> None:
    monitor = GradientMonitor(EVERY, histograms=histograms, on_error="raise")
    found = own_waits(monitor, tmp_path, gradient_clip_val=clip)
    assert [flow.step for flow in monitor.flows] == RECORDED
    assert len(monitor.flows[0].layers) > 1  # layers are measured, not only parameters
    for step in range(STEPS):
        assert found[step] == (["copy to cpu"] if step in RECORDED else []), step
    assert found[-1] == []


@pytest.mark.parametrize(
    "phi", [nn.ReLU(inplace=True), nn.Sigmoid(), nn.PReLU(4), nn.GELU(), nn.Hardtanh()]
)
def test_no_activation_waits_more(tmp_path: Path, phi: nn.Module) -> None:
    module = TinyCNN()
    assert isinstance(module.net, nn.Sequential)
    module.net[2] = phi
    monitor = GradientMonitor(EVERY, on_error="raise")
    found = waits_by_step(tmp_path, monitor, module)
    waiting = {step: names for step, names in found.items() if names}
    assert waiting == {step: ["copy to cpu"] for step in RECORDED}


class Careless(GradientMonitor):
    """Read the loss in every step, as a monitor that checks it for NaN would."""

    def on_before_backward(
        self, trainer: Trainer, pl_module: LightningModule, loss: Tensor
    ) -> None:
        float(loss.detach())
        super().on_before_backward(trainer, pl_module, loss)


def test_reading_the_loss_in_every_step_is_seen(tmp_path: Path) -> None:
    found = waits_by_step(tmp_path, Careless(EVERY, on_error="raise"))
    assert found[1] == ["_local_scalar_dense"]
    assert found[3] == ["_local_scalar_dense", "copy to cpu"]


X, MASK = torch.empty(4, device=META), torch.empty(4, dtype=torch.bool, device=META)


@pytest.mark.parametrize(
    "act",
    [
        lambda: float(X[0]),
        lambda: bool(MASK.all()),
        lambda: X[0].item(),
        lambda: X.cpu(),
        lambda: X.tolist(),
        lambda: X.to("cpu", torch.float64),
        lambda: torch.ones(4).copy_(X),
        lambda: X.nonzero(),
        lambda: torch.where(MASK),
        lambda: X[MASK],
        lambda: X.clone().index_put_((MASK,), X),
        lambda: X.unique(),
        lambda: torch.bincount(X.int()),
        lambda: X.repeat_interleave(X.long()),
        lambda: torch.equal(X, X),
        lambda: torch.allclose(X, X),
        lambda: torch.ones(4).to(META),
        lambda: torch.tensor([1.0], device=META),
        lambda: X[[0, 1]],
    ],
)
def test_the_counter_sees(act: Callable[[], Any]) -> None:
    with Waits() as waits, suppress(RuntimeError, NotImplementedError):  # meta has no answer
        act()
    assert len(waits.names) >= 1


@pytest.mark.parametrize(
    "act",
    [
        lambda: X.double().square().sum() * 2.0,
        lambda: X.masked_fill(MASK, 0.0),
        lambda: torch.where(MASK, X, 0.0),
        lambda: X[0, None][:1],
        lambda: torch.zeros(4, device=META).scatter_add_(0, X.long(), X),
        lambda: torch._foreach_norm([X, X], 2, dtype=torch.float64),
        lambda: float(torch.ones(())),
    ],
)
def test_the_counter_lets_pass(act: Callable[[], Any]) -> None:
    with Waits() as waits:
        act()
    assert waits.names == []
