"""The table in the terminal and as Markdown, CSV and JSON, on runs made by hand."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hand_made import COMPARED, a_run, a_verdict, record
from rich.console import Console

from gradflow.comparison.configurations import configurations
from gradflow.comparison.export import FORMATS
from gradflow.comparison.table import print_table
from gradflow.runs.read import Run


def printed(runs: list[Run]) -> str:
    text = io.StringIO()
    print_table(*configurations(runs), "my study", Console(file=text, width=160))
    return text.getvalue()


def a_run_with(folder: Path, remedy: str, seed: int = 0, **changes: Any) -> Run:
    axes = {"pathology": "vanishing", "remedy": remedy}
    return a_run(folder, axes=axes, config={"seed": seed} | COMPARED, **changes)


@pytest.fixture
def seeds(tmp_path: Path) -> list[Run]:
    """Three seeds of one configuration, accuracies 10, 20, 30 %, and one of another."""
    runs = [
        a_run_with(
            tmp_path / f"relu{seed}",
            "relu",
            seed,
            metrics={"train/accuracy": accuracy, "train/loss": 2.0},
            verdict=a_verdict("healthy" if accuracy > 0.15 else "untrained"),
        )
        for seed, accuracy in enumerate((0.1, 0.2, 0.3))
    ]
    record(tmp_path / "none", 0.0, 1.0)
    return [*runs, a_run_with(tmp_path / "none", "none", metrics={})]


def test_the_table_has_a_row_for_each_configuration_with_mean_and_deviation(
    seeds: list[Run],
) -> None:
    text = printed(seeds)
    assert "my study" in text
    (relu,) = [line for line in text.splitlines() if "relu" in line]
    assert "20.0 ± 10.0" in relu
    assert "2 of 3: healthy: cured; 1 of 3: untrained: no cure here" in relu
    (none,) = [line for line in text.splitlines() if "none" in line]
    assert "first is 0" in none


def test_runs_that_did_not_finish_are_counted_and_their_errors_named(tmp_path: Path) -> None:
    failed = a_run_with(tmp_path / "b", "none", state="failed", error="E: [red]why[/red]")
    text = printed([a_run_with(tmp_path / "a", "relu"), failed])
    assert f"failed: {tmp_path / 'b'}: E: [red]why[/red]\n" in text
    assert "1 finished, 1 failed" in text
    (row,) = [line for line in text.splitlines() if "│ none" in line]
    assert "failed" in row


def test_a_figure_that_no_run_has_is_no_column(tmp_path: Path) -> None:
    text = printed(
        [
            a_run_with(tmp_path / "a", "relu", metrics={}),
            a_run_with(tmp_path / "b", "none", metrics={}),
        ]
    )
    assert "accuracy" not in text
    assert "state" not in text  # all are finished
    assert "┃ n " not in text  # and alone


def test_markdown_is_the_table_of_the_terminal(seeds: list[Run]) -> None:
    head, sides, *lines = FORMATS["markdown"](*configurations(seeds)).splitlines()
    assert head.split(" | ")[:2] == ["| remedy", "n"]
    assert sides.split(" | ")[:2] == ["| :---", "---:"]
    assert lines[0].startswith("| relu | 3 | - | 20.0 ± 10.0 |")
    assert len({line.count("|") for line in (head, sides, *lines)}) == 1


def test_csv_has_every_figure_of_every_metric(seeds: list[Run]) -> None:
    relu, none = csv.DictReader(io.StringIO(FORMATS["csv"](*configurations(seeds))))
    assert float(relu["train/accuracy_mean"]) == pytest.approx(0.2)
    assert float(relu["train/accuracy_sd"]) == pytest.approx(0.1)
    assert (relu["train/accuracy_n"], relu["n"]) == ("3", "3")
    assert float(relu["train/loss_mean"]) == 2
    assert relu["test/accuracy_mean"] == ""
    assert (none["remedy"], none["first_over_last_mean"], none["state"]) == (
        "none",
        "-inf",
        "finished",
    )


def test_json_has_every_run_and_is_json(seeds: list[Run]) -> None:
    text = FORMATS["json"](*configurations(seeds))
    relu, none = json.loads(text, parse_constant=pytest.fail)
    assert relu["settings"] == {"remedy": "relu"}
    assert relu["figures"]["train/accuracy"] == {
        "mean": pytest.approx(0.2),
        "sd": pytest.approx(0.1),
        "n": 3,
    }
    assert [run["figures"]["train/accuracy"] for run in relu["runs"]] == [0.1, 0.2, 0.3]
    assert [run["settings"]["seed"] for run in relu["runs"]] == [0, 1, 2]
    assert none["figures"]["first_over_last"]["mean"] == "-inf"


def test_zero_gradients_are_counted_beside_the_mean_of_the_others(tmp_path: Path) -> None:
    runs = []
    for seed, first in enumerate((0.0, 1e-4, 1e-2)):
        record(tmp_path / str(seed), first, 1.0)
        runs.append(a_run_with(tmp_path / str(seed), "relu", seed))
    assert "1 of 3: first is 0; -3.0 ± 1.4" in printed(runs)


def test_what_is_damaged_is_named(tmp_path: Path) -> None:
    record(tmp_path / "run", 1e-3, 1.0)
    (part,) = (tmp_path / "run" / "gradients.parquet").iterdir()
    part.write_bytes(part.read_bytes()[:100])
    (tmp_path / "run" / "verdict.json").write_text("{")
    text = printed([a_run_with(tmp_path / "run", "relu", verdict=None)])
    assert f"damaged: {tmp_path / 'run'}: verdict.json cannot be read\n" in text
    assert f"damaged: {tmp_path / 'run'}: gradients.parquet cannot be read\n" in text


def test_a_value_with_lines_and_bars_is_one_cell_of_markdown(tmp_path: Path) -> None:
    runs = [a_run_with(tmp_path / "a", "x|y\n<b>"), a_run_with(tmp_path / "b", "none")]
    lines = FORMATS["markdown"](*configurations(runs)).splitlines()
    assert lines[2].startswith(r"| x\|y &lt;b> | ")
    assert len(lines) == 4
