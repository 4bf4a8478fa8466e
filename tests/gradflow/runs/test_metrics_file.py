"""metrics.csv, read back as any spreadsheet reads it."""

import csv
from pathlib import Path

import pytest

from gradflow.errors import ConfigError
from gradflow.runs.metrics import last_values, read_rows
from gradflow.runs.metrics_file import MetricsFile


def write(folder: Path, *rows: tuple[int, dict[str, float]]) -> MetricsFile:
    file = MetricsFile(folder)
    for step, values in rows:
        file.log_metrics(values, step)
    return file


def cells(folder: Path) -> list[list[str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.reader(file))


def test_a_new_metric_adds_a_column_and_keeps_the_rows(tmp_path: Path) -> None:
    write(tmp_path, (0, {"loss": 2.5, "epoch": 0}), (1, {"accuracy": 0.5, "epoch": 0}))
    assert cells(tmp_path) == [
        ["step", "epoch", "loss", "accuracy"],
        ["0", "0", "2.5", ""],
        ["1", "0", "", "0.5"],
    ]


def test_opening_the_file_again_appends(tmp_path: Path) -> None:
    write(tmp_path, (0, {"loss": 2.5}))
    write(tmp_path, (1, {"loss": 2.0}), (2, {"other": 1.0}))
    assert [row["loss"] for row in read_rows(tmp_path)] == ["2.5", "2.0", ""]


def test_a_half_written_last_row_is_ignored(tmp_path: Path) -> None:
    write(tmp_path, (0, {"loss": 2.5}), (1, {"loss": 2.0}))
    path = tmp_path / "metrics.csv"
    path.write_text(path.read_text() + "2,,1.")
    assert [row["step"] for row in read_rows(tmp_path)] == ["0", "1"]
    assert last_values(tmp_path) == {"loss": 2.0}


@pytest.mark.parametrize("tail", ["", "3,,9", "3,,9.5"])
def test_keep_removes_the_later_rows_and_a_broken_one(tmp_path: Path, tail: str) -> None:
    file = write(tmp_path, *((step, {"loss": float(step)}) for step in (0, 1, 2)))
    assert file.rows == 3
    file.path.write_text(file.path.read_text() + tail)
    file.keep(1)
    file.log_metrics({"loss": 7.0}, 1)
    assert file.rows == MetricsFile(tmp_path).rows == 2
    assert cells(tmp_path) == [["step", "epoch", "loss"], ["0", "", "0.0"], ["1", "", "7.0"]]
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.csv"]


def test_last_values_are_each_metrics_own_last_ones(tmp_path: Path) -> None:
    write(tmp_path, (0, {"a": 1.0, "b": 2.0}), (1, {"a": 0.1 + 0.2}))
    assert last_values(tmp_path) == {"a": 0.1 + 0.2, "b": 2.0}


@pytest.mark.parametrize(
    "damaged",
    [b"\x80\xff\n", b"step,epoch\n0,\xff\n", b"no,header\n1,2\n"],
)
def test_a_damaged_file_is_named_when_it_is_opened(tmp_path: Path, damaged: bytes) -> None:
    (tmp_path / "metrics.csv").write_bytes(damaged)
    with pytest.raises(ConfigError) as refused:
        MetricsFile(tmp_path)
    assert str(refused.value).startswith(f"{tmp_path / 'metrics.csv'}: is damaged; remove ")


def test_a_folder_without_the_file_has_no_rows(tmp_path: Path) -> None:
    assert read_rows(tmp_path) == []
    assert last_values(tmp_path) == {}
