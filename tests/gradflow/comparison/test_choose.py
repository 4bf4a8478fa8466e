"""Runs are selected and sorted by the overrides that start runs."""

from pathlib import Path
from typing import Any

import pytest
from hand_made import a_run, a_verdict

from gradflow.comparison.choose import sort, where
from gradflow.comparison.configurations import configurations
from gradflow.errors import ConfigError
from gradflow.runs.read import Run


def a_run_with(name: str, remedy: str, accuracy: float | None, **config: Any) -> Run:
    return a_run(
        Path(name),
        axes={"pathology": "vanishing", "remedy": remedy, "activation": config.pop("activation")},
        config={"seed": 0, "lr": 0.1, "model": {"depth": 20}, "compile": False} | config,
        metrics={} if accuracy is None else {"train/accuracy": accuracy},
        verdict=a_verdict("healthy" if remedy != "none" else "vanishing"),
    )


RUNS = [
    a_run_with("a", "none", 0.1, activation="sigmoid"),
    a_run_with("b", "relu", 0.3, activation="relu", lr=0.02),
    a_run_with("c", "relu+batch_norm", None, activation="relu", model={"depth": 56}, compile=True),
    a_run_with("d", "selu", 0.2, activation="selu", seed=1),
]


@pytest.mark.parametrize(
    ("overrides", "names"),
    [
        (["activation=relu"], "bc"),
        (["activation=relu,selu"], "bcd"),
        (["activation=relu", "model.depth=56"], "c"),
        (["remedy=[relu,batch_norm]"], "c"),
        (["remedy=none,[relu,batch_norm]"], "ac"),
        (["lr=2e-2"], "b"),
        (["lr=.1"], "acd"),
        (["seed=range(0,2)"], "abcd"),
        (["compile=true"], "c"),
        (["verdict=vanishing"], "a"),
        (["state=finished"], "abcd"),
        (["activation='relu'"], "bc"),
        ([], "abcd"),
    ],
)
def test_an_override_selects_the_runs_that_it_would_start(overrides: list[str], names: str) -> None:
    assert "".join(run.folder.name for run in where(RUNS, overrides)) == names


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("activaton=relu", "--where activaton=relu: no run has that key; allowed: activation"),
        ("activation=tanh", "--where activation=tanh: no run is left"),
        ("activation", "--where activation: cannot be read; allowed: key=value, key=one,another"),
        ("~activation", "--where ~activation: cannot be read; allowed: key=value, key=one,another"),
        ("+a=1", "--where +a=1: cannot be read; allowed: key=value, key=one,another"),
        ("a=[", "--where a=[: cannot be read; allowed: key=value, key=one,another"),
        ("lr=interval(0,1)", "--where lr=interval(0,1): cannot be read; allowed: key=value"),
    ],
)
def test_an_override_that_selects_no_run_is_refused_in_one_line(
    override: str, message: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        where(RUNS, [override])
    assert str(refused.value).startswith(message)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("by", "descending", "names"),
    [
        ("train/accuracy", False, "adbc"),
        ("train/accuracy", True, "bdac"),  # a missing value comes last in either direction
        ("remedy", False, "abcd"),
        ("verdict", True, "abcd"),
    ],
)
def test_rows_are_sorted_by_a_column(by: str, descending: bool, names: str) -> None:
    keys, rows = configurations(RUNS)
    ordered = sort(keys, rows, by, descending=descending)
    assert "".join(row.runs[0].folder.name for row in ordered) == names


def test_numbers_are_sorted_by_size() -> None:
    runs = [
        a_run_with(str(lr), "none", 0.1, activation="relu", lr=lr) for lr in (0.1, 1e-5, 20.0, 3.0)
    ]
    keys, rows = configurations(runs)
    assert [row.name for row in sort(keys, rows, "lr")] == ["1e-05", "0.1", "3", "20"]


def test_an_unknown_column_is_refused_and_the_known_ones_are_named() -> None:
    keys, rows = configurations(RUNS)
    with pytest.raises(ConfigError, match=r"^--sort accuracy: there is no .* train/accuracy, "):
        sort(keys, rows, "accuracy")
