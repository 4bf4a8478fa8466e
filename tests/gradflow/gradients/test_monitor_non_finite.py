"""Where and when a loss first stops being a number."""

import math
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hand_passes import classification
from nets import ConvNet
from tiny_run import Smooth, TinyCNN, checkpoint_each_epoch, rows, watch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from watched import Break

from gradflow.gradients.monitor import _first_non_finite_layer
from gradflow.gradients.record import Entry, first_non_finite, read_gradients
from gradflow.gradients.snapshot import Rows


class Net(TinyCNN):
    def __init__(self) -> None:
        super().__init__()
        self.net = ConvNet(depth=8, width=4, skip=False, activation=nn.ReLU, norm=nn.Identity)


@pytest.mark.parametrize("step", [0, 3, 5])
@pytest.mark.parametrize("every_n_steps", [1, 5, 100])
@pytest.mark.parametrize("value", [math.inf, math.nan])
@pytest.mark.parametrize(
    ("parameter", "layer"),
    [
        ("net.stem.conv.weight", "net.stem.activation"),
        ("net.stages.1.0.conv1.weight", "net.stages.1.0.activation1"),
        ("net.stages.2.0.conv2.bias", "net.stages.2.0.activation2"),
        ("net.head.weight", "net.head"),
    ],
)
def test_the_first_step_and_layer_that_are_not_finite_are_named(
    tmp_path: Path, parameter: str, layer: str, value: float, every_n_steps: int, step: int
) -> None:
    watch(
        tmp_path,
        Net(),
        every_n_steps=every_n_steps,
        callbacks=(Break(parameter, step, value),),
        max_steps=7,
    )
    record = read_gradients(tmp_path)
    assert first_non_finite(record) == (step, layer)
    assert (record["kind"] == "non_finite").sum() == 1


def test_an_image_beyond_those_that_are_measured_is_found_too(tmp_path: Path) -> None:
    images, labels = classification(24, 8)
    images[20, 0, 0, 0] = math.nan
    data = DataLoader(TensorDataset(images.float(), labels), batch_size=24)
    watch(tmp_path, Net(), data=data, max_steps=1)
    assert first_non_finite(read_gradients(tmp_path)) == (0, "net.stem.activation")


def test_a_gradient_that_overflows_while_the_loss_is_finite_is_counted(tmp_path: Path) -> None:
    """The square root at 0: its slope is infinite, and times 0 no number."""

    class Rooted(Smooth):
        def training_step(self, batch: list[Tensor], index: int) -> Tensor:
            weight = self.net[0].weight
            assert isinstance(weight, Tensor)
            return super().training_step(batch, index) + (0 * weight).sum().sqrt()

    monitor = watch(tmp_path, Rooted(), max_steps=1)
    gradient = rows(tmp_path, "gradient")
    assert gradient["nans"].to_list() == [108, 0, 0, 0]
    assert rows(tmp_path, "non_finite").is_empty()
    assert math.isfinite(monitor.flows[0].loss)
    assert monitor.flows[0].non_finite == 108 / gradient["elements"].sum()


def test_a_loss_that_goes_wrong_behind_the_logits_names_no_layer(tmp_path: Path) -> None:
    class Log(Smooth):
        def training_step(self, batch: list[Tensor], index: int) -> Tensor:
            return super().training_step(batch, index) + torch.tensor(0.0).log()

    watch(tmp_path, Log())
    assert first_non_finite(read_gradients(tmp_path)) == (0, "loss")


def test_a_resumed_run_keeps_the_first_that_was_noted(tmp_path: Path) -> None:
    saver = partial(checkpoint_each_epoch, tmp_path / "checkpoints")
    broken = Break("net.head.bias", 3, math.nan)
    watch(tmp_path, Net(), callbacks=(broken, saver()), max_steps=6, enable_checkpointing=True)
    last = tmp_path / "checkpoints" / "last.ckpt"
    watch(
        tmp_path, Net(), callbacks=(saver(),), max_steps=9, enable_checkpointing=True, resume=last
    )
    record = read_gradients(tmp_path)
    assert record["step"].max() == 8
    assert (record["kind"] == "non_finite").sum() == 1
    assert first_non_finite(record) == (3, "net.head")


def test_where_the_host_does_not_look_at_each_step_the_rows_tell_the_layer() -> None:
    """As on an accelerator. With histograms, norms are those of the finite elements."""
    entries = [Entry(name, i, 8) for i, name in enumerate(("a", "b", "c"))]
    none, counts = np.zeros(3, dtype=np.int64), np.array([0, 1, 2])
    norm = np.array([1.0, np.nan, np.nan])
    plain = Rows("pre_activation", entries, {"norm": norm})
    found = {"norm": np.ones(3), "bins": np.zeros((3, 254)), "nans": none, "infs": counts}
    assert _first_non_finite_layer([plain]) == "b"
    assert _first_non_finite_layer([Rows("pre_activation", entries, found)]) == "b"
    whole = Rows("pre_activation", entries, {"norm": np.ones(3)})
    assert _first_non_finite_layer([whole]) is None
    assert _first_non_finite_layer([Rows("gradient", entries, {"norm": norm})]) is None
