"""Predictors are rated by how well they order the runs that learn before those that do not."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from hand_made import a_run, a_verdict, record

from gradflow.runs.read import Run
from lab.figures.predictors import area, draw, ratings

GRADIENT = "dL/dz, first over last layer: near 0 decades"


def test_the_area_is_the_share_of_pairs_in_order_and_ties_count_half() -> None:
    source = np.random.default_rng(0)
    values, learns = source.integers(0, 5, 40).astype(float), source.random(40) < 0.4
    pairs = list(itertools.product(values[learns], values[~learns]))
    in_order = sum(a > b for a, b in pairs) + 0.5 * sum(a == b for a, b in pairs)
    assert area(values, learns) == pytest.approx(in_order / len(pairs))
    assert np.isnan(area(values, np.ones(40, bool)))


def a_study(folder: Path, first: dict[str, float], runs: int = 34) -> list[Run]:
    """Runs of three pathologies; dL/dz of the first layer is `first` by verdict, the last 1."""
    made = []
    for i, kind in itertools.product(range(runs), first):
        run = folder / f"{kind}{i}"
        run.mkdir(parents=True)
        record(run, first=first[kind], last=1.0)
        axes = {"pathology": "abc"[i % 3], "remedy": "relu"}
        config = {"seed": i, "activation": {"_target_": kind}}
        made.append(a_run(run, axes=axes, verdict=a_verdict(kind), config=config))
    return made


def test_a_gradient_that_tells_the_runs_apart_has_an_area_of_one(tmp_path: Path) -> None:
    told = ratings(a_study(tmp_path / "a", {"healthy": 0.3, "vanishing": 1e-4}))[GRADIENT]
    assert told[:3] == (1.0, 1.0, 1.0)
    assert told.n == 68
    # An exploding gradient is as far from 0 decades as a vanishing one.
    both = ratings(a_study(tmp_path / "b", {"healthy": 0.3, "exploding": 1e4}))[GRADIENT]
    assert both.area == 1.0
    same = ratings(a_study(tmp_path / "c", {"healthy": 0.3, "vanishing": 0.3}))[GRADIENT]
    assert same.area == 0.5


def test_the_figure_names_each_rating_and_small_studies_have_none(tmp_path: Path) -> None:
    runs = a_study(tmp_path, {"healthy": 0.3, "vanishing": 1e-4})
    (axes,) = draw(runs).axes
    assert "1.00, n = 68" in [text.get_text() for text in axes.texts]
    with pytest.raises(ValueError, match=r"^fewer than three pathologies, or too few runs"):
        draw(runs[:20])
