"""Runs taken together by what they are, and the figures of each such configuration."""

import math
from pathlib import Path
from typing import Any

import pytest
from hand_made import a_run, a_verdict, record

from gradflow.comparison.columns import DECADES, metric
from gradflow.comparison.configurations import configurations, outcome, short_values
from gradflow.runs.read import Run

NAN, INF = math.nan, math.inf


def axes(pathology: str, remedy: str, **more: str) -> dict[str, str]:
    return {"pathology": pathology, "remedy": remedy} | more


def a_run_with(remedy: str, seed: int, folder: str = "run", **changes: Any) -> Run:
    config = {"seed": seed} | changes.pop("config", {})
    return a_run(Path(folder), axes=axes("vanishing", remedy), config=config, **changes)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "healthy"),
        ({"verdict": a_verdict("vanishing")}, "vanishing"),
        ({"axes": axes("vanishing", "relu")}, "healthy: cured"),
        ({"axes": axes("none", "relu")}, "healthy"),  # nothing was ill
        (
            {"axes": axes("vanishing", "clip"), "verdict": a_verdict("vanishing")},
            "vanishing: no cure here",
        ),
        ({"state": "failed", "axes": axes("vanishing", "relu")}, "healthy"),  # until it failed
        ({"state": "cut off", "verdict": None}, "-"),
        ({"verdict": None}, "not watched"),
        ({"verdict": None, "axes": axes("vanishing", "relu")}, "not watched"),
        ({"verdict": None, "diverged_at": 12}, "diverged"),
    ],
)
def test_the_outcome_is_the_verdict_and_whether_a_remedy_cured(
    tmp_path: Path, changes: dict[str, Any], expected: str
) -> None:
    assert outcome(a_run(tmp_path, **changes)) == expected


def test_seeds_of_one_configuration_are_one_row_in_the_order_of_the_runs() -> None:
    runs = [a_run_with(remedy, seed) for seed in (0, 1) for remedy in ("relu", "none")]
    keys, rows = configurations(runs)
    assert keys == ["remedy"]
    assert [(row.name, len(row.runs)) for row in rows] == [("relu", 2), ("none", 2)]


def test_the_spread_is_the_sample_standard_deviation() -> None:
    accuracies = (0.1, 0.2, 0.6)  # mean 0.3; ((0.04 + 0.01 + 0.09) / 2) ** 0.5
    _, (row,) = configurations(
        [a_run_with("relu", s, metrics={"train/accuracy": a}) for s, a in enumerate(accuracies)]
    )
    figures = row.figures(metric("train/accuracy"))
    assert (figures.mean, figures.sd) == (pytest.approx(0.3), pytest.approx(0.07**0.5))
    assert figures.n == 3


@pytest.mark.parametrize(
    ("values", "mean", "sd", "n"),
    [
        ([0.5], 0.5, None, 1),
        ([0.5, NAN], NAN, None, 2),
        ([INF, -INF], NAN, None, 2),
        ([0.5, INF], INF, None, 2),
        ([NAN], NAN, None, 1),
        ([None], None, None, 0),
    ],
)
def test_nan_makes_the_mean_nan_and_a_missing_value_does_not(
    values: list[float | None], mean: float | None, sd: float | None, n: int
) -> None:
    runs = [
        a_run_with("relu", seed, metrics={} if value is None else {"m": value})
        for seed, value in enumerate(values)
    ]
    _, (row,) = configurations(runs)
    figures = row.figures(metric("m"))
    assert figures.mean == pytest.approx(mean, nan_ok=True)
    assert (figures.sd, figures.n) == (sd, n)


def test_a_run_that_is_not_finished_does_not_move_the_mean_of_those_that_are() -> None:
    values = (("finished", 0.4), ("running", 0.1), ("failed", 0.1))
    runs = [a_run_with("relu", i, state=s, metrics={"m": v}) for i, (s, v) in enumerate(values)]
    _, (row,) = configurations(runs)
    assert row.figures(metric("m")).values == (0.4,)
    _, (row,) = configurations(runs[1:])
    assert row.figures(metric("m")).values == (0.1, 0.1)


def test_repeats_of_one_seed_are_told_apart_by_their_study_and_are_no_further_seeds() -> None:
    runs = [
        a_run_with("relu", seed, f"{study}/{seed}", config={"study": {"name": study}})
        for study in ("before", "after")
        for seed in (0, 1)
    ]
    keys, rows = configurations(runs)
    assert keys == ["study"]
    assert [(row.name, len(row.runs)) for row in rows] == [("before", 2), ("after", 2)]


def test_repeats_within_a_study_are_told_apart_by_their_folder() -> None:
    runs = [a_run_with("relu", 0, folder) for folder in ("a", "b")]
    keys, rows = configurations(runs)
    assert keys == ["run"]
    assert [row.name for row in rows] == ["a", "b"]


def test_seeds_alone_are_named_by_their_study_and_a_single_run_by_its_folder() -> None:
    runs = [a_run_with("relu", seed, config={"study": {"name": "seeds"}}) for seed in (0, 1)]
    keys, (row,) = configurations(runs)
    assert (keys, row.name, len(row.runs)) == (["study"], "seeds", 2)
    keys, (row,) = configurations([a_run_with("relu", 0, "outputs/x")])
    assert (keys, row.name) == (["run"], "outputs/x")


def test_a_run_without_a_configuration_is_a_row_of_its_own_by_its_folder() -> None:
    broken = a_run(Path("x/half"), axes={}, config={}, state="half-written", metrics={})
    keys, rows = configurations([a_run_with("relu", 0), a_run_with("none", 0), broken])
    assert keys == ["remedy"]
    assert [row.name for row in rows] == ["relu", "none", "x/half"]


def test_the_ratio_is_in_decades(tmp_path: Path) -> None:
    record(tmp_path / "run", 1e-5, 1e-2)
    assert DECADES.value(a_run(tmp_path / "run")) == pytest.approx(-3, abs=1e-6)


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [(0.0, 1.0, -INF), (0.0, 0.0, None), (NAN, 1.0, None), (1.0, 0.0, INF)],
)
def test_zeros_and_nan_have_no_plain_ratio(
    tmp_path: Path, first: float, last: float, expected: float | None
) -> None:
    record(tmp_path / "run", first, last)
    assert DECADES.value(a_run(tmp_path / "run")) == expected


def test_a_run_that_was_not_watched_has_no_ratio(tmp_path: Path) -> None:
    assert DECADES.value(a_run(tmp_path)) is None


def test_a_repeat_splits_its_own_configuration_and_no_other() -> None:
    runs = [a_run_with("relu", seed, f"a/{seed}") for seed in (0, 1)]
    runs += [a_run_with("none", seed, f"b/{seed}") for seed in (0, 1)]
    keys, rows = configurations([*runs, a_run_with("relu", 1, "c/1")])
    assert keys == ["remedy", "study"]  # which has no other name here than its folder's
    assert [(row.name, len(row.runs)) for row in rows] == [
        ("relu, a", 2),
        ("relu, c", 1),
        ("none, -", 2),
    ]


def test_a_failed_attempt_is_no_repeat_of_the_seed() -> None:
    runs = [
        a_run_with("relu", 0),
        a_run_with("relu", 0, "again", state="failed"),
        a_run_with("none", 0),
    ]
    keys, rows = configurations(runs)
    assert keys == ["remedy"]
    assert [len(row.runs) for row in rows] == [2, 1]


def test_runs_with_different_targets_are_different_configurations() -> None:
    runs = [
        a_run_with("relu", seed, config={"activation": {"_target_": f"torch.nn.{name}"}})
        for seed, name in enumerate(("SiLU", "Tanh"))
    ]
    keys, rows = configurations(runs)
    assert keys == ["activation._target_"]
    assert [row.name for row in rows] == ["torch.nn.SiLU", "torch.nn.Tanh"]


def test_long_numbers_are_shortened_where_they_still_tell_rows_apart() -> None:
    def shown(*rates: float) -> list[str]:
        runs = [a_run_with("relu", i, config={"lr": rate}) for i, rate in enumerate(rates)]
        keys, rows = configurations(runs)
        assert keys == ["lr"]
        assert [row.values for row in rows] == [(f"{rate:.15g}",) for rate in rates]
        return [value for (value,) in short_values(rows)]

    assert shown(0.0123456789, 0.1, 100000) == ["0.01235", "0.1", "100000"]
    assert shown(0.0123456789, 0.0123456788) == ["0.0123456789", "0.0123456788"]


def test_half_written_runs_of_two_studies_are_two_rows() -> None:
    broken = [
        a_run(Path(study) / "seed=0", axes={}, config={}, state="half-written", metrics={})
        for study in ("a", "b")
    ]
    keys, rows = configurations(broken)
    assert [row.name for row in rows] == ["a/seed=0", "b/seed=0"]
    assert keys == ["run"]


@pytest.mark.parametrize("study", [None, "demo", {}, ["x"]])
def test_a_study_of_another_version_is_called_by_its_folder(study: Any) -> None:
    runs = [a_run_with("relu", seed, f"mine/{seed}", config={"study": study}) for seed in (0, 1)]
    keys, (row,) = configurations(runs)
    assert (keys, row.name) == (["study"], "mine")
