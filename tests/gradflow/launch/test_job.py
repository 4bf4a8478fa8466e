"""A job through the real command line: what it says, and what it leaves behind."""

import fcntl
import os
import pty
import signal
import subprocess
import termios
import time
from contextlib import suppress
from pathlib import Path

import pytest
from processes import SMALL_TRAIN, command, environment, run
from records import checkpoint, status_of
from stopping import stopping

pytestmark = pytest.mark.slow


def test_a_single_run_ends_with_its_figures_and_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "one"
    done = run(tmp_path, f"hydra.run.dir={folder}")
    assert done.returncode == 0, done.stderr
    metrics = status_of(folder).metrics
    assert f"validation/distance {metrics['validation/distance']:.3f}" in done.stdout
    assert f"record: {folder}" in done.stdout


REFUSED = "monitor.every_n_steps=0"


def test_a_refused_run_leaves_no_folder(tmp_path: Path) -> None:
    folder = tmp_path / "refused"
    done = run(tmp_path, REFUSED, f"hydra.run.dir={folder}")
    assert done.returncode == 2
    assert done.stderr.startswith("error: monitor.every_n_steps=0: must be ")
    assert done.stderr.count("\n") == 1
    assert not folder.exists()


def test_a_refused_run_removes_nothing_that_was_in_its_folder_before(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "thesis.txt").write_text("years of work")
    done = run(tmp_path, REFUSED, f"hydra.run.dir={folder}")
    assert done.returncode == 2
    assert (folder / "sub" / "thesis.txt").read_text() == "years of work"


def test_a_job_refused_in_a_finished_runs_folder_leaves_its_record_and_fails_the_launch(
    tmp_path: Path,
) -> None:
    study = tmp_path / "study"
    words = ["-m", "seed=0", f"hydra.sweep.dir={study}", "hydra.sweep.subdir=job"]
    assert run(tmp_path, *words).returncode == 0
    record = (study / "job" / "status.json").read_bytes()
    refused = run(tmp_path, *words, "lr=0.02")
    assert refused.returncode == 1
    assert "refused: default: " in refused.stdout
    assert "lr=0.01, not 0.02" in refused.stdout
    assert (study / "job" / "status.json").read_bytes() == record
    assert run(tmp_path, *words).returncode == 0  # the same words again: finished, skipped


def test_a_job_refused_for_an_unreadable_status_leaves_it_as_it_is(tmp_path: Path) -> None:
    job = tmp_path / "study" / "job"
    words = ["-m", f"hydra.sweep.dir={job.parent}", "hydra.sweep.subdir=job"]
    assert run(tmp_path, *words).returncode == 0
    (job / "status.json").write_text("{")
    refused = run(tmp_path, *words)
    assert refused.returncode == 1
    assert "status.json: unreadable" in refused.stdout
    assert (job / "status.json").read_text() == "{"


def test_a_study_name_without_a_multirun_is_refused(tmp_path: Path) -> None:
    done = run(tmp_path, "study.name=mine", f"hydra.run.dir={tmp_path / 'run'}")
    assert done.returncode == 2
    assert "study.name=mine: names a study, and this is a single run; add -m" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("words", [[], ["-m"]], ids=["single", "study"])
def test_a_file_where_the_folder_should_be_is_one_line(tmp_path: Path, words: list[str]) -> None:
    file = tmp_path / "file"
    file.touch()
    done = run(tmp_path, *words, f"hydra.run.dir={file}", f"hydra.sweep.dir={file}")
    assert done.returncode == 2
    key = "hydra.sweep.dir" if words else "hydra.run.dir"
    assert done.stderr == f"error: {key}={file}: File exists\n"
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("name", "code", "error"), [("SIGINT", 130, "Ctrl-C"), ("SIGTERM", 143, "SIGTERM")]
)
@pytest.mark.parametrize("study", [False, True], ids=["single", "study"])
def test_a_stopped_run_says_by_what_and_how_it_is_continued(
    tmp_path: Path, name: str, code: int, error: str, study: bool
) -> None:
    words = stopping(signal.Signals[name], to_launcher=study)
    where = tmp_path / "run"
    if study:
        where = tmp_path / "study" / "run"
        words = ["-m", *words, f"hydra.sweep.dir={where.parent}", "hydra.sweep.subdir=run"]
        words += ["study.name=mine"]
    else:
        words += [f"hydra.run.dir={where}"]
    done = run(tmp_path, *words)
    assert done.returncode == code, done.stderr
    how = "study.name=mine" if study else f"hydra.run.dir={where}"
    assert f"interrupted; the same command line with {how} continues\n" in done.stderr
    assert "Traceback" not in done.stderr
    status = status_of(where)
    assert (status.state, status.error, status.steps) == ("interrupted", error, 1)
    assert checkpoint(where)["global_step"] == 1


def test_a_run_whose_terminal_is_closed_saves_a_checkpoint(tmp_path: Path) -> None:
    """As when a connection breaks. The bar, and what is printed, have nowhere to go any more."""
    folder = tmp_path / "run"
    mine, its = pty.openpty()
    words = ["steps=1000000", "validation=false", f"hydra.run.dir={folder}"]
    process = subprocess.Popen(
        command(SMALL_TRAIN, *words),
        cwd=tmp_path,
        env=environment(tmp_path),
        stdin=its,
        stdout=its,
        stderr=its,
        preexec_fn=lambda: (os.setsid(), fcntl.ioctl(0, termios.TIOCSCTTY, 0)),
    )
    try:
        os.close(its)
        limit = time.monotonic() + 150
        while not (folder / "metrics.csv").exists() and time.monotonic() < limit:
            with suppress(BlockingIOError):
                os.set_blocking(mine, False)
                os.read(mine, 4096)  # a full terminal would stop the run
            time.sleep(0.05)
        os.close(mine)
        assert process.wait(timeout=60) == 128 + signal.SIGHUP
    finally:
        process.kill()
    status = status_of(folder)
    assert (status.state, status.error) == ("interrupted", "SIGHUP")
    assert checkpoint(folder)["global_step"] == status.steps > 0


def test_of_many_words_a_jobs_folder_shows_those_that_differ_and_stays_when_more_are_swept(
    tmp_path: Path,
) -> None:
    words = ["-m", f"logger.project={'long' * 30}", "activation=relu,tanh"]
    words.append(f"hydra.sweep.dir={tmp_path / 'study'}")
    assert run(tmp_path, *words, "seed=0").returncode == 0
    folders = sorted((tmp_path / "study").glob("[!.]*/"))
    assert [folder.name.rpartition("-")[0] for folder in folders] == [
        "activation=relu",
        "activation=tanh",
    ]
    records = {folder: (folder / "status.json").read_bytes() for folder in folders}
    assert run(tmp_path, *words, "seed=0,1").returncode == 0
    assert {folder: (folder / "status.json").read_bytes() for folder in folders} == records
    added = [folder for folder in (tmp_path / "study").glob("[!.]*/") if folder not in folders]
    assert sorted(folder.name.rpartition("-")[0] for folder in added) == [
        "activation=relu,seed=1",
        "activation=tanh,seed=1",
    ]


@pytest.mark.parametrize("name", ["..", ".", "a/b", "../x"])
def test_a_study_name_that_is_no_folders_is_refused_before_any_folder_is_made(
    tmp_path: Path, name: str
) -> None:
    study = tmp_path / "studies" / "${study.name}"
    done = run(tmp_path, "-m", f"study.name={name}", f"hydra.sweep.dir={study}")
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: study.name={name}: must be at most 128 letters")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "studies").exists()
