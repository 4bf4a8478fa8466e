"""The theory line on the page: what the probe would predict, or why it predicts nothing."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from page_study import a_page_run

from gradflow.launch.compose import compose
from gradflow.runs.read import Run, read_run
from lab.probe.run import first_batch, new_net
from lab.theory import predict as prediction
from lab.theory.line import lines
from lab.theory.predict import predict

SMALL = ("model.depth=8", "model.width=4", "data=synthetic", "pathology=vanishing")


def runs(tmp_path: Path, conf: Path, *words: str) -> list[Run | None]:
    """Write a run with its configuration for each of `words`."""
    found: list[Run | None] = []
    for place, word in enumerate(words):
        folder = a_page_run(tmp_path / str(place), "none", 0)
        compose([*SMALL, *word.split()], conf).save(folder / "config.yaml")
        found.append(read_run(folder))
    return found


def test_a_line_is_the_probes_prediction_or_says_why_it_is_not(tmp_path: Path, conf: Path) -> None:
    words = ("remedy=none", "remedy=clip", "remedy=batch_norm", "norm=group")
    recorded = runs(tmp_path, conf, *words)
    none, clip, batch_norm, group, missing = lines([*recorded, None], seconds=60.0)
    config = compose(SMALL, conf)
    expected = predict(new_net(config), *first_batch(config))
    for line in (none, clip):
        assert line.gradient == pytest.approx(np.array(expected.gradient), abs=1e-9)
        assert line.pre_activation == pytest.approx(np.array(expected.pre_activation), abs=1e-9)
    normed = compose([*SMALL, "remedy=batch_norm"], conf)
    expected = predict(new_net(normed), *first_batch(normed))
    assert batch_norm.gradient == pytest.approx(np.array(expected.gradient), abs=1e-9)
    assert batch_norm.gradient_band is not None
    assert group.gradient is None
    assert "GroupNorm" in str(group.reason)
    assert "no record" in str(missing.reason)


def test_lines_beyond_the_time_limit_are_left_out(tmp_path: Path, conf: Path) -> None:
    (line,) = lines(runs(tmp_path, conf, ""), seconds=0.0)
    assert line.reason == "left out to save time"


def test_nets_of_two_seeds_have_lines_of_their_own_and_those_that_begin_alike_one(
    tmp_path: Path, conf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("seed=0", "seed=1", "seed=1 lr=1.0")
    configs = [compose([*SMALL, *word.split()], conf) for word in words]
    expected = [predict(new_net(config), *first_batch(config)) for config in configs]
    predicted = []

    def counted(*arguments: Any) -> prediction.Prediction:
        predicted.append(predict(*arguments))
        return predicted[-1]

    monkeypatch.setattr(prediction, "predict", counted)
    found = lines(runs(tmp_path, conf, *words), seconds=60.0)
    for line, of_net in zip(found, expected, strict=True):
        assert line.gradient == pytest.approx(np.array(of_net.gradient), abs=1e-12)
        assert line.pre_activation == pytest.approx(np.array(of_net.pre_activation), abs=1e-12)
    assert expected[0].gradient != expected[1].gradient
    assert len(predicted) == 2


def test_missing_data_is_not_downloaded(
    tmp_path: Path, conf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetched(*_: Any) -> None:
        raise AssertionError("asked for the data")

    monkeypatch.setattr("project.data.cifar10.dataset.prepare", fetched)
    (line,) = lines(
        runs(tmp_path, conf, f"data=cifar10 data.root={tmp_path}/nowhere"), seconds=60.0
    )
    assert line.reason == f"{tmp_path}/nowhere/cifar10.npy is missing"
