"""Layers in real Lightning runs: nets of this template and of others, in every precision."""

import copy
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hand_passes import classification, convnet_pass, rms, torchvision_pass
from tiny_run import BATCH, batches, rows, watch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torchvision.models import resnet18
from watched import GRADIENT, Watched, assert_layers_are, by_layer, convnet, fp16, tiny_batch

from gradflow.gradients.record import read_gradients


@pytest.mark.parametrize("skip", [True, False])
def test_the_layers_of_a_convnet_are_recorded_with_validation_in_between(
    tmp_path: Path, skip: bool
) -> None:
    net = convnet(skip=skip)
    images, labels = tiny_batch()
    zs = convnet_pass(copy.deepcopy(net).double(), images)
    watch(tmp_path, Watched(net), val=batches(), val_check_interval=1)
    assert_layers_are(tmp_path, zs, labels, rel=1e-4)
    assert rows(tmp_path, "pre_activation")["units"].to_list() == [4, 4, 4, 8, 8, 16, 16, 10]


def test_a_resnet_of_torchvision_is_seen_layer_by_layer(tmp_path: Path) -> None:
    """ReLUs in place, one module called twice in each block: `layer1.0.relu#2`."""
    torch.manual_seed(0)
    net = resnet18(num_classes=10)
    images, labels = classification(4, 32)
    zs = torchvision_pass(copy.deepcopy(net).double(), images)
    data = DataLoader(TensorDataset(images.float(), labels), batch_size=4)
    watch(tmp_path, Watched(net), data=data, max_steps=1)
    assert len(zs) == 18
    assert_layers_are(tmp_path, zs, labels, rel=1e-3)


def test_accumulation_shows_the_last_batch_undivided(tmp_path: Path) -> None:
    net = convnet(norm=nn.Identity)
    images, labels = tiny_batch(2)
    zs = convnet_pass(copy.deepcopy(net).double(), images)
    watch(tmp_path, Watched(net), accumulate_grad_batches=3, max_steps=1)
    assert_layers_are(tmp_path, zs, labels, rel=1e-4)
    wanted = F.cross_entropy(list(zs.values())[-1], labels).item()
    assert rows(tmp_path, "loss")["max"][0] == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize(("precision", "rel"), [("bf16-mixed", 0.1), ("64-true", 1e-10)])
@pytest.mark.parametrize("activation", [nn.Tanh, nn.PReLU])
def test_other_precisions_are_measured(
    tmp_path: Path, precision: str, rel: float, activation: Callable[[], nn.Module]
) -> None:
    net = convnet(activation, norm=nn.Identity)
    images, labels = tiny_batch()
    zs = convnet_pass(copy.deepcopy(net).double(), images)
    watch(tmp_path, Watched(net), precision=precision, max_steps=1)
    assert_layers_are(tmp_path, zs, labels, rel)


def test_bf16_weights_are_measured(tmp_path: Path) -> None:
    net = convnet(nn.PReLU, norm=nn.Identity)
    zs = convnet_pass(copy.deepcopy(net).double(), tiny_batch()[0])
    watch(tmp_path, Watched(net), precision="bf16-true", max_steps=1)
    for name, row in by_layer(tmp_path, "pre_activation").items():
        assert row["rms"] == pytest.approx(rms(zs[name]), rel=0.1)


def test_the_fp16_scale_is_divided_out_of_the_layers_gradients(tmp_path: Path) -> None:
    net = convnet(norm=nn.Identity)
    images, labels = tiny_batch()
    zs = convnet_pass(copy.deepcopy(net).double(), images)
    watch(tmp_path, Watched(net), plugins=[fp16(10)], accumulate_grad_batches=1, max_steps=1)
    assert_layers_are(tmp_path, zs, labels, rel=0.02)
    assert rows(tmp_path, "loss")["max"][0] == pytest.approx(math.log(10), rel=0.1)


def test_a_step_that_fp16_skips_is_counted_and_changes_nothing(tmp_path: Path) -> None:
    monitor = watch(tmp_path, Watched(convnet(norm=nn.Identity)), plugins=[fp16(40)], max_steps=1)
    gradient = rows(tmp_path, "gradient")
    assert gradient["infs"].sum() + gradient["nans"].sum() > 0
    assert set(rows(tmp_path, "update")["norm"]) == {0.0}
    assert rows(tmp_path, "clipped_gradient").is_empty()
    assert rows(tmp_path, "non_finite").is_empty()  # the loss is well
    assert monitor.flows[0].non_finite > 0
    assert monitor.flows[0].loss is not None
    assert math.isfinite(monitor.flows[0].loss)


@pytest.mark.slow
def test_a_thousand_layers_are_measured(tmp_path: Path) -> None:
    """Step 1 of depth 1202; 600 blocks, and not a second's work."""
    net = convnet(depth=1202, width=1, stem_stride=2, norm=nn.Identity)
    images = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    data = DataLoader(TensorDataset(images, torch.tensor([1, 2])), batch_size=1)
    monitor = watch(tmp_path, Watched(net), data=data)
    assert [len(flow.layers) for flow in monitor.flows] == [1202, 1202]
    assert rows(tmp_path, "weight", step=1)["norm"].null_count() == 0


def test_a_net_of_functions_alone_is_recorded(tmp_path: Path) -> None:
    class Bare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.matrix = nn.Parameter(torch.zeros(192, 10))

        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1).tanh() @ self.matrix

    monitor = watch(tmp_path, Watched(Bare()))
    kinds = set(read_gradients(tmp_path)["kind"])
    assert kinds >= {"gradient", "weight", "update", "loss", "mean_loss"}
    assert monitor.flows[0].layers == ["net.tanh", "output"]
    assert monitor.flows[0].loss == pytest.approx(math.log(10))


def test_a_batch_that_training_step_skips_has_no_loss(tmp_path: Path) -> None:
    class Skipping(Watched):
        def training_step(self, batch: list[Tensor], index: int) -> Tensor | None:  # type: ignore[override]
            return None if index == 1 else super().training_step(batch, index)

    monitor = watch(tmp_path, Skipping(convnet()), max_steps=3)
    assert [flow.loss is None for flow in monitor.flows] == [False, True, False]
    assert rows(tmp_path, "gradient", step=1)["norm"].null_count() == len(
        rows(tmp_path, "gradient", step=1)
    )


def test_the_batch_is_measured_in_the_images_that_come_first(tmp_path: Path) -> None:
    images, labels = classification(3 * BATCH, 8)
    net = convnet(norm=nn.Identity)
    zs = convnet_pass(copy.deepcopy(net).double(), images)
    F.cross_entropy(list(zs.values())[-1], labels).backward()
    data = DataLoader(TensorDataset(images.float(), labels), batch_size=3 * BATCH)
    watch(tmp_path, Watched(net), data=data, max_steps=1)
    for name, row in by_layer(tmp_path, GRADIENT).items():
        gradient = zs[name].grad
        assert gradient is not None
        first = gradient if gradient.ndim == 2 else gradient[:8]
        assert row["rms"] == pytest.approx(rms(first), rel=1e-4)


def test_a_backward_that_lightning_does_not_see_is_no_divergence(tmp_path: Path) -> None:
    """Manual optimization may call loss.backward() itself: then the loss is not known."""

    class Manual(Watched):
        def __init__(self) -> None:
            super().__init__(convnet())
            self.automatic_optimization = False

        def training_step(self, batch: list[Tensor], index: int) -> None:
            optimizer = self.optimizers()
            optimizer.zero_grad()
            super().training_step(batch, index).backward()
            optimizer.step()

    monitor = watch(tmp_path, Manual(), max_steps=3)
    assert [flow.loss for flow in monitor.flows] == [None] * len(monitor.flows)
    assert rows(tmp_path, "non_finite").is_empty()
    assert monitor.verdict is not None
    assert monitor.verdict.kind == "healthy"
