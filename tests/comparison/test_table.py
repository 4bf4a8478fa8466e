"""The table's words, on runs made by hand."""

import io
import math
from pathlib import Path
from typing import Any

import pytest
from hand_made import a_run, a_verdict, record
from rich.console import Console

from gradflow.comparison.runs import Run
from gradflow.comparison.table import (
    differing_axes,
    first_over_last,
    print_table,
    what_it_shows,
)


def axes(pathology: str, remedy: str, **more: str) -> dict[str, str]:
    return {"pathology": pathology, "remedy": remedy} | more


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "healthy"),
        ({"verdict": a_verdict("vanishing")}, "vanishing"),
        ({"axes": axes("vanishing", "relu")}, "healthy: cured"),
        ({"axes": axes("none", "relu")}, "healthy"),  # nothing was ill
        (
            {"axes": axes("vanishing", "clip"), "verdict": a_verdict("vanishing")},
            "vanishing: no cure here",
        ),
        ({"state": "failed", "error": "KeyError: 'x'"}, "failed: KeyError: 'x'"),
        ({"state": "cut off"}, "cut off"),
        ({"verdict": None}, "not watched"),
        ({"verdict": None, "axes": axes("vanishing", "relu")}, "not watched"),
        ({"verdict": None, "diverged_at": 12}, "diverged"),
    ],
)
def test_the_words_are_the_verdict_and_whether_a_remedy_cured(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    assert what_it_shows(a_run(tmp_path, **changes)) == words


def test_the_ratio_is_in_decades(tmp_path: Path) -> None:
    record(tmp_path / "run", 1e-5, 1e-2)
    assert first_over_last(a_run(tmp_path / "run")) == pytest.approx(-3, abs=1e-6)


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [(0.0, 1.0, -math.inf), (0.0, 0.0, None), (math.nan, 1.0, None), (1.0, 0.0, math.inf)],
)
def test_zeros_and_nan_have_no_plain_ratio(
    tmp_path: Path, first: float, last: float, expected: float | None
) -> None:
    record(tmp_path / "run", first, last)
    assert first_over_last(a_run(tmp_path / "run")) == expected


def test_a_run_that_was_not_watched_has_no_ratio(tmp_path: Path) -> None:
    assert first_over_last(a_run(tmp_path)) is None


def test_runs_are_told_apart_by_what_differs() -> None:
    def made(axes: dict[str, str], **config: Any) -> Run:
        return a_run(Path("run"), axes=axes, config=config)

    pair = [made(axes("vanishing", r, activation=r), seed=0, case=None) for r in ("relu", "selu")]
    assert differing_axes(pair) == ["remedy"]
    cases = [made(axes("p", r), seed=0, case=r) for r in ("a", "b")]
    assert differing_axes(cases) == ["case"]
    rates = [made(axes("none", "none"), seed=0, case=None, lr=lr) for lr in (0.1, 0.2)]
    assert differing_axes(rates) == ["lr"]
    nets = [made(axes("none", "none", model=m), seed=0, case=None) for m in ("a", "b")]
    assert differing_axes(nets) == ["model"]


def test_the_table_has_a_row_for_each_run_and_counts_those_that_did_not_finish(
    tmp_path: Path,
) -> None:
    runs = [
        a_run(tmp_path / "a", axes=axes("vanishing", "relu")),
        a_run(tmp_path / "b", axes=axes("vanishing", "none"), state="failed", error="E: why"),
    ]
    printed = io.StringIO()
    print_table(runs, "my study", Console(file=printed, width=160))
    text = printed.getvalue()
    assert "my study" in text
    (relu,) = [line for line in text.splitlines() if "relu" in line]
    assert "40.0" in relu
    assert "35.0" in relu
    assert "failed: E: why" in text
    assert "1 finished, 1 failed" in text


def test_seeds_of_one_configuration_are_one_row_with_mean_and_standard_deviation(
    tmp_path: Path,
) -> None:
    accuracies = (0.10, 0.20, 0.30)  # mean 20, sample standard deviation 10
    runs = [
        a_run(
            tmp_path / str(seed),
            axes=axes("vanishing", "relu"),
            config={"seed": seed},
            metrics={"train/accuracy": accuracy},
            verdict=a_verdict("healthy" if accuracy > 0.15 else "untrained"),
        )
        for seed, accuracy in enumerate(accuracies)
    ]
    runs.append(a_run(tmp_path / "other", axes=axes("vanishing", "none"), config={"seed": 0}))
    printed = io.StringIO()
    print_table(runs, "study", Console(file=printed, width=160))
    (row,) = [line for line in printed.getvalue().splitlines() if "relu" in line]
    assert "20.0 ± 10.0" in row
    assert "1 of 3: untrained" in row


def test_a_run_without_a_configuration_is_one_row_and_adds_no_columns(tmp_path: Path) -> None:
    runs = [
        a_run(tmp_path / "a", axes=axes("vanishing", "relu")),
        a_run(tmp_path / "b", axes=axes("vanishing", "none")),
    ]
    assert differing_axes(runs) == ["remedy"]
    broken = a_run(tmp_path / "half_written", axes={}, config={}, state="cut off", metrics={})
    assert differing_axes([*runs, broken]) == ["remedy"]
    printed = io.StringIO()
    print_table([*runs, broken], "study", Console(file=printed, width=160))
    (row,) = [line for line in printed.getvalue().splitlines() if "half_written" in line]
    assert "cut off" in row
