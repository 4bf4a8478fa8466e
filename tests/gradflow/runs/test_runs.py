"""Runs read from their folders, whole or damaged."""

import fcntl
import math
import threading
from pathlib import Path

import polars as pl
import pytest
from filelock import FileLock
from hand_made import a_folder, a_verdict, record

from gradflow.comparison.configurations import configurations
from gradflow.comparison.table import print_table
from gradflow.runs import files
from gradflow.runs.read import read_run, read_runs


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


def test_a_reader_delays_a_run_and_does_not_keep_it_from_being_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_READERS_SECONDS", 60.0)
    folder = a_folder(tmp_path / "run", "running")
    (folder / ".lock").touch()
    with (folder / ".lock").open("rb") as reader:
        fcntl.flock(reader, fcntl.LOCK_SH)  # what a reader does, for longer than it does
        assert not files.is_claimed(folder)  # readers do not see each other
        timer = threading.Timer(0.3, fcntl.flock, (reader, fcntl.LOCK_UN))
        timer.start()
        with files.claimed(folder):
            assert timer.finished.is_set()
            assert files.is_claimed(folder)
        timer.join()


def test_a_fetched_run_that_is_running_elsewhere_is_running(tmp_path: Path) -> None:
    assert read_run(a_folder(tmp_path / "run", "running", host="")).state == "running"


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
    print_table(*configurations(list(runs.values())), title="damaged")


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


@pytest.mark.parametrize(
    ("status", "refusal", "state", "error"),
    [
        (None, None, "half-written", None),
        ('{"state": "finis', None, "half-written", None),
        ('{"state": "done", "format": 7}', None, "other version", None),
        (None, '{"time": "2026", "error": "E: why"}', "refused", "E: why"),
    ],
)
def test_a_folder_without_a_status_is_shown_as_what_it_is(
    tmp_path: Path, status: str | None, refusal: str | None, state: str, error: str | None
) -> None:
    folder = a_folder(tmp_path / "run")
    (folder / "status.json").unlink()
    for name, text in (("status.json", status), ("refusal.json", refusal)):
        if text is not None:
            (folder / name).write_text(text)
    (run,) = read_runs([tmp_path])
    assert (run.folder, run.state, run.error) == (folder, state, error)


def test_copies_of_a_configuration_inside_a_run_are_no_runs(tmp_path: Path) -> None:
    folder = a_folder(tmp_path / "run")
    for inside in (".hydra", "wandb/offline-run-1/files"):
        (folder / inside).mkdir(parents=True)
        (folder / inside / "config.yaml").write_text("seed: 1\n")
    assert [run.folder for run in read_runs([tmp_path])] == [folder]


def test_a_run_that_was_cut_off_has_the_figures_that_it_came_to(tmp_path: Path) -> None:
    folder = a_folder(tmp_path / "run", "running")
    (folder / "metrics.csv").write_text("step,epoch,train/accuracy\n19,0,0.25\n39,0,0.5\n59,0,0.")
    run = read_run(folder)
    assert (run.state, run.metrics) == ("cut off", {"train/accuracy": 0.5})
    steps, values = run.curve("train/accuracy")
    assert (steps.tolist(), values.tolist()) == ([19, 39], [0.25, 0.5])
    assert len(run.curve("no such metric")[0]) == 0


def test_only_the_rows_of_the_wanted_step_are_read_from_a_record_with_new_columns(
    tmp_path: Path,
) -> None:
    """A later version may have added a column to the record."""
    folder = a_folder(tmp_path / "run")
    record(folder, 1e-3, 1e-1)
    (part,) = (folder / "gradients.parquet").glob("*.parquet")
    pl.read_parquet(part).with_columns(new=pl.lit(1)).write_parquet(part)
    run = read_run(folder)
    assert run.first_over_last == pytest.approx(-2)
    assert [flow.step for flow in run.flows()] == [0]


def test_a_folder_that_two_paths_lead_to_is_one_run_and_a_link_may_lead_back(
    tmp_path: Path,
) -> None:
    a_folder(tmp_path / "study" / "run")
    (tmp_path / "study" / "up").symlink_to(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path / "study")
    paths = [tmp_path / "study", tmp_path / "link", tmp_path / "study" / ".." / "study"]
    assert len(read_runs(paths)) == 1
    assert len(read_runs([tmp_path / "link"])) == 1


@pytest.mark.parametrize("text", ["5\n", "{a: 1}\n", "[1, null]\n"])
def test_typed_words_that_are_none_break_nothing(tmp_path: Path, text: str) -> None:
    folder = a_folder(tmp_path / "run")
    (folder / ".hydra").mkdir()
    (folder / ".hydra" / "overrides.yaml").write_text(text)
    assert read_run(folder).state == "finished"
