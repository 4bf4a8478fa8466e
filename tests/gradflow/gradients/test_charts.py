"""The tables of the charts that a run leaves in W&B: what their columns hold, how long they are."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from gradflow.gradients.charts import MOST_LAYERS, Chart, histogram_chart, profile_chart
from gradflow.gradients.flow import Flow, decades
from gradflow.gradients.histogram import measure
from gradflow.gradients.record import Entry, RecordWriter, read_gradients


def flow(step: int, gradient: list[float], z: list[float]) -> Flow:
    """A record whose layers have these RMS of dL/dz and of z."""
    n = len(gradient)
    none = np.zeros(n)
    layers = [f"layer{i}" for i in range(n)]
    return Flow(
        step, 2.3, layers, decades(z), decades(gradient), none, none, 10, 0.0, 0.0, np.zeros(0)
    )


def column(chart: Chart | None, name: str) -> list[object]:
    assert chart is not None
    return [row[chart.columns.index(name)] for row in chart.rows]


def test_the_profile_is_that_of_the_first_and_the_last_record() -> None:
    flows = [flow(s, [10.0 ** -(s + 1), 1e-3], [2.0, 0.5]) for s in (0, 10, 19)]
    chart = profile_chart(flows)
    assert column(chart, "layer") == [1, 2, 1, 2]
    assert column(chart, "name") == ["layer0", "layer1"] * 2
    assert column(chart, "record") == ["start", "start", "end", "end"]
    assert column(chart, "step") == [0, 0, 19, 19]
    assert column(chart, "log10_gradient") == pytest.approx([-1, -3, -20, -3])
    expected = [math.log10(2), math.log10(0.5)] * 2
    assert column(chart, "log10_pre_activation") == pytest.approx(expected)


def test_one_record_is_a_start_without_an_end() -> None:
    assert column(profile_chart([flow(0, [1.0, 1.0], [1.0, 1.0])]), "record") == ["start"] * 2


def test_zero_and_non_finite_values_are_gaps() -> None:
    chart = profile_chart([flow(0, [0.0, math.nan, 1.0], [math.inf, 1.0, 1.0])])
    assert column(chart, "log10_gradient") == [None, None, 0.0]
    assert column(chart, "log10_pre_activation") == [None, 0.0, 0.0]


def test_a_chart_of_a_deep_net_keeps_the_first_and_the_last_layer() -> None:
    depth = 1202
    flows = [flow(step, [1.0] * depth, [1.0] * depth) for step in (0, 10)]
    numbers = column(profile_chart(flows), "layer")[:MOST_LAYERS]
    assert len(column(profile_chart(flows), "layer")) == 2 * MOST_LAYERS
    assert (numbers[0], numbers[-1]) == (1, depth)
    assert set(np.diff(np.array(numbers, dtype=int))) == {2, 3}  # evenly, none of them twice


def test_a_run_without_layers_or_weights_has_no_chart(tmp_path: Path) -> None:
    assert profile_chart([flow(0, [], [])]) is None
    assert profile_chart([]) is None
    assert histogram_chart(read_gradients(tmp_path), ["stem.weight"]) is None


def recorded(folder: Path, steps: dict[int, list[Tensor]], names: list[str]) -> None:
    writer = RecordWriter(folder, 0)
    for step, tensors in steps.items():
        entries = [
            Entry(n, i, t.numel()) for i, (n, t) in enumerate(zip(names, tensors, strict=True))
        ]
        writer.append(step, "gradient", entries, vars(measure(tensors)))
        writer.append(
            step, "weight", entries, vars(measure([torch.full((4,), 512.0)] * len(names)))
        )
    writer.flush()


def test_the_histogram_has_the_shares_of_the_first_the_middle_and_the_last_weight(
    tmp_path: Path,
) -> None:
    names = ["a.weight", "a.bias", "b.weight", "c.weight", "c.bias"]
    values = [
        torch.tensor([0.0, 1e-40, 1.5, 1.75]),
        torch.tensor([0.125] * 4),
        torch.tensor([2.0, 3.0, 4.0, 0.5]),
        torch.tensor([2.0**30, torch.inf, torch.nan, 2.0**-126]),
        torch.tensor([0.125] * 4),
    ]
    recorded(tmp_path, {0: values, 5: values, 9: [v / 2 for v in values]}, names)
    weights = [name for name in names if name.endswith("weight")]
    chart = histogram_chart(read_gradients(tmp_path), weights)
    assert chart is not None
    shown = {
        (place, row[chart.columns.index("step")], row[0]): row[chart.columns.index(place)]
        for row in chart.rows
        for place in ("first", "middle", "last")
    }
    assert {key: share for key, share in shown.items() if share and key[1] == 0} == {
        ("first", 0, -127): 0.5,  # 0 and a subnormal number
        ("first", 0, 0): 0.5,
        ("middle", 0, -1): 0.25,
        ("middle", 0, 1): 0.5,
        ("middle", 0, 2): 0.25,
        ("last", 0, -126): 0.25,
        ("last", 0, 24): 0.75,  # 2^30, Inf and NaN
    }
    assert {step for _, step, _ in shown} == {0, 9}
    assert shown["middle", 9, 0] == 0.5
    assert column(chart, "exponent") == [*range(-127, 25)] * 2
    assert column(chart, "record") == ["start"] * 152 + ["end"] * 152


def test_a_weight_without_a_gradient_in_a_step_is_a_gap(tmp_path: Path) -> None:
    writer = RecordWriter(tmp_path, 0)
    writer.append(0, "gradient", [Entry("a.weight", 0, 4)], {})
    writer.flush()
    assert set(column(histogram_chart(read_gradients(tmp_path), ["a.weight"]), "first")) == {None}
