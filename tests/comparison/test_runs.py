"""Runs read from their folders, whole or damaged."""

import math
from pathlib import Path

import pytest
from filelock import FileLock
from hand_made import a_folder, a_verdict, record

from gradflow.comparison.runs import read_run, read_runs
from gradflow.comparison.table import print_table


def test_a_run_is_what_its_folder_says(tmp_path: Path) -> None:
    folder = a_folder(tmp_path / "run", steps=8, metrics={"train/loss": 2.0}, seconds=3.0)
    run = read_run(folder)
    assert (run.state, run.steps, run.seconds) == ("finished", 8, 3.0)
    assert run.metrics == {"train/loss": 2.0}
    assert run.axes == {"pathology": "vanishing", "remedy": "relu"}
    assert run.config["seed"] == 0


def test_a_run_is_cut_off_when_it_says_running_and_nobody_holds_its_lock(tmp_path: Path) -> None:
    folder = a_folder(tmp_path / "run", "running")
    assert read_run(folder).state == "cut off"
    with FileLock(folder / ".lock"):
        assert read_run(folder).state == "running"
    assert read_run(folder).state == "cut off"


def test_runs_are_found_at_any_depth_once_and_oldest_first(tmp_path: Path) -> None:
    late = a_folder(tmp_path / "a" / "late", start="2026-01-02T00:00:00+00:00")
    early = a_folder(tmp_path / "b" / "deep" / "early", start="2026-01-01T00:00:00+00:00")
    runs = read_runs([tmp_path, tmp_path / "a", early])
    assert [run.folder for run in runs] == [early, late]


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("status.json", '{"state": "finis'),
        ("status.json", "[]"),
        ("status.json", ""),
        ("status.json", "\xff"),
        ("status.json", '{"state": "finished", "start": 5, "metrics": null}'),
        ("config.yaml", None),
        ("config.yaml", "axes: {a: ["),
        ("config.yaml", "just words"),
        ("config.yaml", "axes: null"),
        ("config.yaml", "\xff"),
        ("gradients.parquet/part-0000000000.parquet", "PAR1 no more"),
    ],
)
def test_a_damaged_folder_breaks_neither_itself_nor_the_rest(
    tmp_path: Path, file: str, text: str | None
) -> None:
    good, bad = a_folder(tmp_path / "good"), a_folder(tmp_path / "bad")
    for folder in (good, bad):
        record(folder, 1e-6, 1.0)
    if text is None:
        (bad / file).unlink()
    else:
        (bad / file).write_text(text, encoding="latin-1")
    runs = {run.folder: run for run in read_runs([tmp_path])}
    assert runs.keys() == {good, bad}
    assert runs[good].flow() is not None
    assert (runs[bad].flow() is None) == file.startswith("gradients")
    print_table(list(runs.values()), title="damaged")


def test_a_configuration_cut_short_is_none(tmp_path: Path) -> None:
    folder = a_folder(tmp_path / "run")
    (folder / "config.yaml").write_text("seed: 0\ncase: null\n")  # its axes would stand last
    run = read_run(folder)
    assert (run.config, run.axes) == ({}, {})


def test_the_flow_is_that_of_the_step(tmp_path: Path) -> None:
    folder = a_folder(tmp_path / "run")
    record(folder, 1e-3, 0.0)
    flow = read_run(folder).flow()
    assert flow is not None
    assert flow.layers == ["stem", "block", "head"]
    assert flow.gradient[0] == pytest.approx(-3)
    assert flow.gradient[1] == -math.inf
    assert read_run(folder).flow(step=5) is None


def test_the_verdict_is_read_and_a_damaged_one_is_none(tmp_path: Path) -> None:
    folder = a_folder(tmp_path / "run")
    assert read_run(folder).verdict is None
    a_verdict("frozen").write(folder)
    assert read_run(folder).verdict == a_verdict("frozen")
    for damaged in ('{"kind": "fro', "[]", '{"kind": "frozen"}', "null"):
        (folder / "verdict.json").write_text(damaged)
        assert read_run(folder).verdict is None
