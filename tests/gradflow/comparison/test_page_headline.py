"""The page's means, intervals and differences are those of a t-test, whatever the baseline."""

from __future__ import annotations

import base64
import math
import random
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hand_made import COMPARED, a_run
from page_study import ACCURACY, a_depth_study
from scipy import stats

from gradflow.comparison.configurations import configurations
from gradflow.comparison.page.blob import Arrays
from gradflow.comparison.page.headline import MOST_BASELINES, pack_baselines, pack_objective
from gradflow.runs.read import Run, read_runs

BASELINE = {"comparison": COMPARED["comparison"] | {"baseline": {"remedy": "none"}}}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    return read_runs([a_depth_study(tmp_path_factory.mktemp("study"))])


def accuracies(remedy: str, depth: str) -> list[float]:
    return [ACCURACY[remedy, int(depth), seed] for seed in range(3)]


def test_each_configuration_has_the_mean_and_the_t_interval_of_its_seeds(runs: list[Run]) -> None:
    keys, rows = configurations(runs)
    packed = pack_objective(rows)
    assert packed is not None
    assert keys == ["remedy", "model.depth"]
    assert [packed[name] for name in ("metric", "direction", "percent")] == [
        "validation/accuracy",
        "max",
        True,
    ]
    for row, (n, mean, half) in zip(rows, packed["figures"], strict=True):
        seeds = accuracies(*row.values)
        low, high = stats.t.interval(0.95, 2, loc=sum(seeds) / 3, scale=stats.sem(seeds))
        assert n == 3
        assert (mean - half, mean + half) == pytest.approx((low, high))
    assert packed["runs"] == [accuracy for row in rows for accuracy in accuracies(*row.values)]


@pytest.mark.parametrize(("place", "baseline", "other"), [(0, "none", "relu"), (1, "relu", "none")])
def test_a_difference_has_the_interval_of_a_paired_t_test_for_each_baseline(
    runs: list[Run], place: int, baseline: str, other: str
) -> None:
    keys, rows = configurations(runs)
    packed = pack_baselines(keys, rows)
    assert [(one["label"], one["own"]) for one in packed] == [
        ("remedy=none", True),
        ("remedy=relu", False),
    ]
    assert packed[place]["title"] == f"validation accuracy minus that of remedy={baseline}, points"
    values = iter(packed[place]["runs"])
    for row, (n, mean, half) in zip(rows, packed[place]["figures"], strict=True):
        remedy, depth = row.values
        seeds = [next(values) for _ in row.runs]
        if remedy == baseline:
            assert seeds == [None] * 3
            assert (n, mean, half) == (0, None, None)
            continue
        pairs = accuracies(other, depth), accuracies(baseline, depth)
        assert seeds == pytest.approx([a - b for a, b in zip(*pairs, strict=True)])
        oracle = stats.ttest_rel(*pairs).confidence_interval(0.95)
        assert n == 3
        assert (mean - half, mean + half) == pytest.approx((oracle.low, oracle.high))


def test_a_run_that_diverged_leaves_its_configuration_without_a_mean(tmp_path: Path) -> None:
    runs = [
        a_run(tmp_path / str(seed), config={"seed": seed} | COMPARED, diverged_at=at)
        for seed, at in enumerate((None, 7, None))
    ]
    packed = pack_objective(configurations(runs)[1])
    assert packed is not None
    assert packed["runs"] == [0.35, None, 0.35]
    assert packed["figures"] == [(3, -math.inf, None)]


def a_grid(**values: list[Any]) -> list[Run]:
    """Return a run for each combination of the settings' values."""
    combinations = [dict(zip(values, one, strict=True)) for one in product(*values.values())]
    return [
        a_run(Path(str(place)), config=settings | {"seed": 0} | COMPARED)
        for place, settings in enumerate(combinations)
    ]


def test_only_words_of_few_values_are_offered_and_not_the_numbers() -> None:
    runs = a_grid(lr=[0.1, 0.2, 0.3], norm=["none", "batch"], order=[f"o{i}" for i in range(13)])
    labels = [one["label"] for one in pack_baselines(*configurations(runs))]
    assert labels == ["norm=none", "norm=batch"]


def test_a_page_offers_no_more_baselines_than_it_has_room_for() -> None:
    words = {f"key_{i}": [f"a{j}" for j in range(6)] for i in range(3)}
    packed = pack_baselines(*configurations(a_grid(**words)))
    assert len(packed) == MOST_BASELINES


def test_a_thousand_runs_grow_by_less_than_a_tenth_of_the_smallest_page_of_so_many() -> None:
    """A page of 1,000 runs that is made by hand has 2.7 MB without these parts."""
    draw = random.Random(0)
    runs = []
    for index in range(1000):
        remedy, rest = index % 7, index // 7
        axes = {"pathology": "vanishing", "remedy": f"remedy-{remedy}"}
        runs.append(
            a_run(
                Path(str(index)),
                axes=axes,
                config={"seed": rest % 3, "lr": 0.001 * (1 + rest // 3)} | BASELINE,
                metrics={"validation/accuracy": draw.random()},
            )
        )
    keys, rows = configurations(runs)
    packed = pack_baselines(keys, rows)
    assert [one["label"] for one in packed] == [f"remedy=remedy-{i}" for i in range(7)]
    size = len(base64.b64encode(Arrays().compress({"baselines": packed})))
    assert size < 0.1 * 2.7e6, size
