"""The probe is the first record of the run that it stands for, and says where theory ends."""

import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes

from gradflow.gradients.flow import read_flows
from gradflow.gradients.record import read_gradients
from gradflow.launch.compose import compose
from gradflow.launch.instantiate import instantiate
from gradflow.runs.read import read_run
from lab.probe.figure import draw_probe
from lab.probe.phase_diagram import Point, draw_phase_diagram, measure_points
from lab.probe.run import new_net, probe
from lab.probe.table import print_probe
from lab.theory.band import INITIALIZATIONS, Band, Floats, ends
from lab.theory.line import lines
from project.config import Config
from project.train import train

SMALL = (
    "data=synthetic",
    "data.train_images=300",
    "data.validation=100",
    "data.batch_size=8",
    "model.depth=8",
    "model.width=8",
    "model.stem_stride=2",
    "trainer=cpu",
    "logger=none",
    "test=false",
    "steps=1",
    "threads=1",
)


def small(*words: str) -> Config:
    return compose([*SMALL, *words])


@pytest.mark.parametrize("words", [(), ("pathology=vanishing", "model.depth=8"), ("norm=group",)])
def test_the_probe_is_the_first_record_of_the_run(tmp_path: Path, words: tuple[str, ...]) -> None:
    """Batches of 8: as many images as the monitor measures."""
    config = small(*words)
    train(config, tmp_path)
    (recorded,) = read_flows(read_gradients(tmp_path))
    found = probe(config).flow
    assert [f"net.{name}" for name in found.layers] == recorded.layers
    np.testing.assert_allclose(found.gradient, recorded.gradient, atol=1e-4)
    np.testing.assert_allclose(found.pre_activation, recorded.pre_activation, atol=1e-4)
    assert found.loss == pytest.approx(recorded.loss, rel=1e-5)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("norm=group", "model=resnet"), "batch norm or no norm"),
        (("norm=instance", "model=plain_cnn"), "batch norm or no norm"),
        (("norm=batch", "model=resnet", "init=zero_residual"), "new norms"),
        (("norm=none", "model=plain_cnn", "init=delta_orthogonal"), "independent weights"),
    ],
)
def test_where_theory_does_not_apply_there_is_no_line(words: tuple[str, ...], why: str) -> None:
    found = probe(small(*words))
    assert found.prediction is None
    assert found.mean_field is None
    assert found.no_theory is not None
    assert why in found.no_theory


@pytest.mark.parametrize(
    "words", [("norm=none", "model=resnet"), ("norm=batch", "model=resnet"), ("norm=batch",)]
)
def test_nets_with_skips_or_norms_have_a_line_and_no_depth_scale_of_plain_ones(
    words: tuple[str, ...],
) -> None:
    found = probe(small(*words))
    assert found.prediction is not None
    assert found.prediction.layers == found.flow.layers
    assert found.mean_field is None
    assert found.no_theory is None


def test_theory_and_measurement_of_a_sigmoid_net_agree_to_a_tenth_of_a_decade() -> None:
    found = probe(small("pathology=vanishing", "model.depth=20", "model.width=16"))
    assert found.prediction is not None
    np.testing.assert_allclose(found.flow.gradient, found.prediction.gradient, atol=0.15)
    assert found.verdict.kind == "vanishing"


def test_the_table_and_the_figure_show_both_profiles(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = probe(small("pathology=vanishing", "model.depth=8"))
    print_probe(found)
    printed = capsys.readouterr().out
    assert "stages.0.0.activation1" in printed
    assert "chi_1" in printed
    assert f"{found.flow.gradient[0]:+.2f}" in printed
    draw_probe(found, "title", tmp_path / "probe.svg")
    assert "mean field" in (tmp_path / "probe.svg").read_text()


@pytest.mark.parametrize(
    "words", [("norm=batch",), ("norm=group",), ("norm=none", "callbacks=lsuv", "init=too_small")]
)
def test_the_band_is_that_of_fresh_initializations_with_a_theory_and_without(
    words: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A batch of 8: as many images as the band has, so that a fresh net's probe lies in it."""
    config = small("model=plain_cnn", *words)
    found = probe(config)
    assert found.band.gradient.shape == (INITIALIZATIONS, len(found.flow.layers))
    np.testing.assert_allclose(found.band.gradient.mean(0), found.flow.gradient, atol=0.4)
    if "callbacks=lsuv" in words:
        assert np.abs(found.band.pre_activation[:, :-1]).max() < 0.3  # else -1 and less
    draw_probe(found, "title", tmp_path / "probe.svg")
    assert f"{INITIALIZATIONS} initializations" in (tmp_path / "probe.svg").read_text()
    low, high = ends(found.band.gradient)
    inside = int(((low <= found.flow.gradient) & (found.flow.gradient <= high)).sum())
    print_probe(found)
    printed = re.search(r"dL/dz (\d+) of 8 layers", capsys.readouterr().out)
    assert printed is not None
    assert int(printed[1]) == pytest.approx(inside, abs=1)  # the table rounds to 0.01 decades


def test_the_figure_fills_from_the_least_to_the_largest_initialization(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    filled = []

    def fill(self: Axes, x: object, low: Floats, high: Floats, **_: object) -> None:
        filled.append((low, high))

    monkeypatch.setattr(Axes, "fill_between", fill)
    found = probe(small("norm=batch"))
    profiles = np.array([[1.0, -2.0], [0.5, -1.0], [3.0, -1.5]]).repeat(4, axis=1)
    band = Band(profiles, profiles - 1)
    draw_probe(replace(found, band=band), "title", tmp_path / "probe.svg")
    for (low, high), shift in zip(filled, (0, 1), strict=True):
        assert low.tolist() == [0.5 - shift] * 4 + [-2.0 - shift] * 4
        assert high.tolist() == [3.0 - shift] * 4 + [-1.0 - shift] * 4


def test_the_table_says_in_words_what_is_exactly_0(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (("pathology=vanishing", "model.depth=8"), ("norm=batch", "model=plain_cnn")):
        found = probe(small(*words))
        gradient = found.flow.gradient.copy()
        gradient[:2] = -math.inf
        print_probe(replace(found, flow=replace(found.flow, gradient=gradient)))
        printed = capsys.readouterr().out
        assert not re.search(r"\b(inf|nan)\b", printed)
        assert printed.count(" exactly 0 │") == 2
        if found.prediction is not None:
            errors = np.abs(gradient - found.prediction.gradient)[2:]
            assert f"dL/dz {errors.max():.2f} (2 left out: 0 or non-finite)" in printed


def test_measured_points_lie_on_the_sides_of_criticality_that_theory_gives_them() -> None:
    config = small("model=plain_cnn", "norm=none", "model.padding=circular", "activation=tanh")
    low, high = measure_points(config, [0.5, 8.0], [0.0])
    assert (low.weight_variance, high.weight_variance) == (0.5, 8.0)
    assert low.slope < -0.1  # chi_1 = 0.5: -0.15
    assert high.slope > 0.05


def test_the_phase_diagram_is_drawn_with_its_points(tmp_path: Path) -> None:
    activation = instantiate(compose(["activation=tanh"]).activation, key="activation")
    points = [Point(0.5, 0.0, -0.15), Point(2.0, 0.1, 0.0)]
    draw_phase_diagram(activation, points, "tanh", tmp_path / "phase.svg", cells=4)
    assert "tanh" in (tmp_path / "phase.svg").read_text()


@pytest.mark.parametrize("where", ["probe", "page"])
def test_a_net_with_loaded_weights_has_the_band_of_new_nets(tmp_path: Path, where: str) -> None:
    net = ("norm=none", "model=plain_cnn")
    plain = small(*net)
    torch.save(new_net(plain).state_dict(), tmp_path / "weights.pt")
    loaded = small(*net, f"weights={tmp_path / 'weights.pt'}")
    if where == "probe":
        low, high = ends(probe(loaded).band.gradient)
    else:
        train(loaded, tmp_path / "run")
        (line,) = lines([read_run(tmp_path / "run")], seconds=60.0)
        assert line.gradient_band is not None
        low, high = line.gradient_band
    assert (high - low > 0.02).all()
