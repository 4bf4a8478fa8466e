"""Runs picked and put in order by the words that start runs."""

from pathlib import Path
from typing import Any

import pytest
from hand_made import a_run, a_verdict

from gradflow.comparison.choose import sort, where
from gradflow.comparison.configurations import configurations
from gradflow.errors import ConfigError
from gradflow.runs.read import Run


def of(name: str, remedy: str, accuracy: float | None, **config: Any) -> Run:
    return a_run(
        Path(name),
        axes={"pathology": "vanishing", "remedy": remedy, "activation": config.pop("activation")},
        config={"seed": 0, "lr": 0.1, "model": {"depth": 20}, "compile": False} | config,
        metrics={} if accuracy is None else {"train/accuracy": accuracy},
        verdict=a_verdict("healthy" if remedy != "none" else "vanishing"),
    )


RUNS = [
    of("a", "none", 0.1, activation="sigmoid"),
    of("b", "relu", 0.3, activation="relu", lr=0.02),
    of("c", "relu+batch_norm", None, activation="relu", model={"depth": 56}, compile=True),
    of("d", "selu", 0.2, activation="selu", seed=1),
]


@pytest.mark.parametrize(
    ("words", "names"),
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
def test_a_word_picks_the_runs_that_it_would_start(words: list[str], names: str) -> None:
    assert "".join(run.folder.name for run in where(RUNS, words)) == names


@pytest.mark.parametrize(
    ("word", "said"),
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
def test_a_word_that_picks_nothing_is_refused_in_one_line(word: str, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        where(RUNS, [word])
    assert str(refused.value).startswith(said)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("by", "descending", "names"),
    [
        ("train/accuracy", False, "adbc"),
        ("train/accuracy", True, "bdac"),  # what has none comes last all the same
        ("remedy", False, "abcd"),
        ("verdict", True, "abcd"),
    ],
)
def test_rows_are_put_in_the_order_of_a_column(by: str, descending: bool, names: str) -> None:
    words, rows = configurations(RUNS)
    ordered = sort(words, rows, by, descending=descending)
    assert "".join(row.runs[0].folder.name for row in ordered) == names


def test_numbers_are_put_in_the_order_of_their_size() -> None:
    runs = [of(str(lr), "none", 0.1, activation="relu", lr=lr) for lr in (0.1, 1e-5, 20.0, 3.0)]
    words, rows = configurations(runs)
    assert [row.name for row in sort(words, rows, "lr")] == ["1e-05", "0.1", "3", "20"]


def test_a_column_that_there_is_not_is_refused_with_those_that_there_are() -> None:
    words, rows = configurations(RUNS)
    with pytest.raises(ConfigError, match=r"^--sort accuracy: there is no .* train/accuracy, "):
        sort(words, rows, "accuracy")
