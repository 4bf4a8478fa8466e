"""The figures of one step, on rows made by hand."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradflow.gradients.flow import Flow, decades, flow_of, read_flows
from gradflow.gradients.record import Entry, RecordWriter, read_gradients

NAN, INF = math.nan, math.inf


def flow(gradient: list[float]) -> Flow:
    n = len(gradient)
    nothing = np.full(n, NAN)
    return Flow(
        step=0,
        loss=1.0,
        layers=[f"layer{i}" for i in range(n)],
        pre_activation=nothing,
        gradient=np.array(gradient, dtype=np.float64),
        dead=nothing,
        saturated=nothing,
        outputs=10,
        zeros=0.0,
        non_finite=0.0,
        update_to_weight=nothing,
    )


@pytest.mark.parametrize("slope", [-0.65, 0.0, 0.2])
def test_a_straight_profile_has_its_slope_and_its_ends_apart(slope: float) -> None:
    """`slope` decades per layer towards the input; the logits are anywhere."""
    n = 20
    profile = [-3 + slope * (n - 1 - i) for i in range(n)]
    made = flow([*profile, 7.0])
    assert made.decades_per_layer == pytest.approx(slope, abs=1e-12)
    assert made.first_over_last == pytest.approx(slope * (n - 1), abs=1e-12)


def test_non_finite_layers_are_left_out_of_the_slope() -> None:
    made = flow([NAN, -4.0, NAN, -3.0, -2.5, 0.0])  # half a decade a layer
    assert made.decades_per_layer == pytest.approx(-0.5)
    assert math.isnan(made.first_over_last)


def test_a_layer_without_any_gradient_makes_the_slope_infinite() -> None:
    made = flow([-INF, -4.0, -3.0, 0.0])
    assert made.decades_per_layer == -INF
    assert made.first_over_last == -INF
    assert flow([-4.0, -3.0, -INF]).decades_per_layer == pytest.approx(-1)  # the logits


@pytest.mark.parametrize("gradient", [[], [-1.0], [-1.0, -2.0], [NAN, NAN, NAN, 0.0]])
def test_too_few_layers_have_no_slope(gradient: list[float]) -> None:
    assert math.isnan(flow(gradient).decades_per_layer)
    assert math.isnan(flow(gradient).first_over_last)


def test_decades_distinguish_zero_from_non_finite() -> None:
    found = decades([100.0, 1e-30, 0.0, None, NAN, INF])
    np.testing.assert_allclose(found, [2, -30, -INF, NAN, NAN, NAN], rtol=1e-12)


def kinds() -> dict[str, dict[str, Any]]:
    """Two parameters, one more without a gradient; two nonlinearities, the first frozen."""
    names = ["a.weight", "a.bias"]
    return {
        "gradient": {
            "name": [*names, "b.weight"],
            "elements": [8, 2, 100],
            "zeros": [3, 1, None],
            "nans": [1, 0, None],
            "infs": [0, 2, None],
        },
        "weight": {"name": names, "norm": [2.0, 5.0]},
        "update": {"name": names, "norm": [0.002, 5.0]},
        "pre_activation": {
            "name": ["first", "second", "logits"],
            "rms": [1.0, 0.1, None],
            "max": [3.0, 0.5, None],
            "units": [4, 4, 10],
            "dead": [0.25, 0.5, None],
            "saturated": [0.0, 1.0, None],
        },
        "pre_activation_gradient": {"name": ["second", "logits"], "rms": [1e-3, 0.0]},
        "loss": {"max": [2.5]},
        "mean_loss": {"max": [2.25], "elements": [10]},
    }


def test_each_figure_is_that_of_its_rows() -> None:
    made = flow_of(30, kinds())
    assert (made.step, made.loss, made.outputs) == (30, 2.5, 10)
    assert (made.mean_loss, made.batches) == (2.25, 10)
    assert made.layers == ["first", "second", "logits"]
    np.testing.assert_allclose(made.pre_activation, [0, -1, NAN], atol=1e-12)
    np.testing.assert_allclose(made.gradient, [NAN, -3, -INF])
    np.testing.assert_array_equal(made.dead, [0.25, 0.5, NAN])
    np.testing.assert_array_equal(made.saturated, [0, 1, NAN])
    assert made.zeros == 4 / 10  # of dL/dw: a parameter without one does not count
    assert made.non_finite == 3 / 10
    np.testing.assert_allclose(made.update_to_weight, [-3])  # biases start at 0


def test_steps_are_compared_with_weights_of_any_name() -> None:
    norms = {"name": ["a.weight", "b.weight", "kernel"], "norm": [1.0, 10.0, 100.0]}
    rows = {"weight": norms | {"dimensions": [4, 1, 2]}, "update": norms | {"norm": [1.0] * 3}}
    np.testing.assert_allclose(flow_of(0, rows).update_to_weight, [0, -2])
    del rows["weight"]["dimensions"]
    np.testing.assert_allclose(flow_of(0, rows).update_to_weight, [0, -1])


def test_a_step_without_layers_loss_or_gradient_has_no_figures() -> None:
    made = flow_of(0, {"gradient": {"name": ["w"], "elements": [3]}})
    assert (made.layers, made.outputs, made.zeros, made.non_finite) == ([], 0, 0, 0)
    assert made.loss is None
    assert made.known_loss is None
    assert math.isnan(made.first_over_last)
    assert len(made.update_to_weight) == 0


@pytest.mark.parametrize("mean", [None, NAN, INF])
def test_the_steps_own_loss_is_what_is_known_where_the_mean_is_not_finite(
    mean: float | None,
) -> None:
    assert flow_of(30, kinds()).known_loss == (2.25, 10)
    assert flow_of(30, kinds() | {"mean_loss": {"max": [mean], "elements": [10]}}).known_loss == (
        2.5,
        1,
    )
    without = {kind: columns for kind, columns in kinds().items() if kind != "mean_loss"}
    assert flow_of(30, without).known_loss == (2.5, 1)
    assert flow_of(30, without | {"loss": {"max": [NAN]}}).known_loss is None


def test_the_flows_of_a_record_are_those_of_its_steps_earliest_first(tmp_path: Path) -> None:
    writer = RecordWriter(tmp_path, 0)
    for step in (0, 10, 20):
        for kind, columns in kinds().items():
            names = columns.get("name", ["loss"])
            elements = columns.get("elements", [1] * len(names))
            entries = [Entry(*row) for row in zip(names, range(3), elements, strict=False)]
            writer.append(step, kind, entries, columns)
    writer.append(15, "non_finite", [Entry("loss", 0, 1)], {})
    writer.flush()
    flows = read_flows(read_gradients(tmp_path))
    assert [made.step for made in flows] == [0, 10, 20]
    for made in flows:
        np.testing.assert_equal(vars(made), vars(flow_of(made.step, kinds())))
