"""A run on a machine that lacks something: a clear message or no effect. No secret is kept."""

import errno
import os
import runpy
import subprocess
import zipfile
import zlib
from base64 import b64decode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from re import findall
from typing import NamedTuple

import pytest
from processes import SMALL_TRAIN, command, environment
from records import status_of
from small_project import fit

from gradflow.runs import status
from gradflow.runs.read import read_run

KEY = "0123456789abcdef0123456789abcdef01234567"  # of the form of a W&B key
FAILING = """
import torch


class Raises(torch.nn.ReLU):
    def forward(self, z):
        raise RuntimeError("injected failure")
"""
# A program, the rest of whose words is a command line: no file may grow beyond the bytes given.
LIMITED = """
import resource, runpy, sys
bytes_, *sys.argv = sys.argv[1:]
resource.setrlimit(resource.RLIMIT_FSIZE, (int(bytes_), int(bytes_)))
sys.path.insert(0, {helpers!r})
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run(folder: Path, *words: str | Path, **variables: str | None) -> subprocess.CompletedProcess:
    values = environment(folder) | {k: v for k, v in variables.items() if v is not None}
    for name in [name for name, value in variables.items() if value is None]:
        values.pop(name, None)
    return subprocess.run(
        command(*(words if str(words[0]).endswith(".py") else (SMALL_TRAIN, *words))),
        cwd=folder,
        env=values,
        capture_output=True,
        text=True,
        timeout=200,
    )


class Done(NamedTuple):
    code: int
    lines: list[str]  # of standard error


Launch = Callable[..., Done]


@pytest.fixture
def launch(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Launch:
    """The small project's command line in this process, which has its imports already."""

    def call(folder: Path, *words: str) -> Done:
        monkeypatch.chdir(folder)
        monkeypatch.setattr("sys.argv", [str(SMALL_TRAIN), *words])
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            runpy.run_path(str(SMALL_TRAIN), run_name="__main__")
        return Done(int(left.value.code or 0), capsys.readouterr().err.splitlines())

    return call


def contents(path: Path) -> bytes:
    """Return what a file holds, unpacked."""
    raw = path.read_bytes()
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            raw += b"".join(map(archive.read, archive.namelist()))
    if path.suffix == ".html":
        for block in findall(rb">([A-Za-z0-9+/=\s]{200,})<", raw):
            raw += zlib.decompress(b64decode(block))
    return raw


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("place", ["environment", "netrc"])
def test_an_api_key_stands_in_no_file_and_on_no_screen(tmp_path: Path, place: str) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / ".netrc").write_text(f"machine api.wandb.ai\n  login user\n  password {KEY}\n")
    if place == "environment":
        (home / ".netrc").unlink()
    work = tmp_path / "work"
    work.mkdir()
    (work / "failing.py").write_text(FAILING)
    secret = {"HOME": str(home), "WANDB_API_KEY": KEY if place == "environment" else None}
    whole = run(work, "logger=offline", **secret)
    failed = run(work, "logger=offline", "activation._target_=failing.Raises", **secret)
    study = run(work, "-m", "logger=offline", "seed=0,1", "study.name=both", **secret)
    assert (whole.returncode, failed.returncode, study.returncode) == (0, 1, 0), study.stderr
    files = [path for path in work.rglob("*") if path.is_file()]
    kinds = {path.suffix for path in files}
    assert {".log", ".wandb", ".ckpt", ".html", ".yaml", ".json", ".parquet"} <= kinds
    assert [path for path in files if KEY.encode() in contents(path)] == []
    assert not any(KEY in done.stdout + done.stderr for done in (whole, failed, study))


def test_a_key_that_hydra_would_write_down_is_refused(tmp_path: Path, launch: Launch) -> None:
    code, (line,) = launch(tmp_path, f"+hydra.job.env_set.WANDB_API_KEY={KEY}")
    assert code == 2
    assert line.startswith("error: hydra.job.env_set.WANDB_API_KEY: would be written")
    assert KEY not in line
    assert not (tmp_path / "outputs").exists()


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("limit", [100, 3000, 5000])
def test_a_full_disk_is_one_line_and_the_run_continues_where_there_is_room(
    tmp_path: Path, limit: int
) -> None:
    program = tmp_path / "limited.py"
    program.write_text(LIMITED.format(helpers=str(SMALL_TRAIN.parent)))
    words = [SMALL_TRAIN, "hydra.run.dir=run", "monitor.every_n_steps=100"]
    done = run(tmp_path, program, str(limit), *words)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert line.endswith(f": {os.strerror(errno.EFBIG)}")
    again = run(tmp_path, *words)
    assert again.returncode == 0, again.stderr
    assert status_of(tmp_path / "run").state == "finished"
    assert list((tmp_path / "run").rglob("*.unfinished")) == []


@pytest.mark.parametrize("folder", ["file/run", "file", "/dev/null/x", "/proc/x", "locked/run"])
@pytest.mark.parametrize("multirun", [False, True])
def test_a_folder_that_cannot_be_made_is_one_line_before_anything_is_made(
    tmp_path: Path, folder: str, multirun: bool, launch: Launch
) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "locked").mkdir(mode=0o500)
    if folder.startswith("locked") and os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    before = sorted(tmp_path.rglob("*"))
    key = "hydra.sweep.dir" if multirun else "hydra.run.dir"
    code, (line,) = launch(tmp_path, *(["-m"] if multirun else []), f"{key}={folder}")
    assert code == 2
    assert line.startswith(f"error: {key}={folder}: ")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("hydra.run.dir=", "hydra.run.dir=: must be a folder below"),
        ("hydra.run.dir=.", "hydra.run.dir=.: must be a folder below"),
        ("hydra.run.dir=../up", "hydra.run.dir=../up: must be a folder below"),
        ("hydra.run.dir=a/../../up", "hydra.run.dir=a/../../up: must be a folder below"),
        ("hydra.run.dir=source", "hydra.run.dir=source: holds other files, such as code.py"),
        ("hydra.output_subdir=../up", "hydra.output_subdir=../up: must be .hydra"),
        ("hydra.output_subdir=null", "hydra.output_subdir=None: must be .hydra"),
        ("hydra.job.name=../../up", "hydra.job_logging.handlers.file.filename="),
        ("hydra.job_logging.handlers.file.filename=up", "hydra.job_logging.handlers.file.filename"),
        ("hydra/job_logging=disabled", "hydra.job_logging: Unable to configure handler 'console'"),
        ("hydra/job_logging=none", "hydra.job_logging: Unable to configure handler 'console'"),
        ("hydra.job_logging.root.level=x", "hydra.job_logging: Unable to configure root logger"),
        ("hydra.hydra_logging.root=3", "hydra.hydra_logging.root=3: cannot be composed: Unable"),
        ("activation=[1]", "activation=[1]: cannot be composed: "),
        ("lr=é", "lr=é: cannot be read; allowed: key=value, "),
    ],
)
def test_what_hydra_would_fail_over_is_one_line_before_anything_is_made(
    tmp_path: Path, override: str, named: str, launch: Launch
) -> None:
    work = tmp_path / "work"
    (work / "source").mkdir(parents=True)
    (work / "source" / "code.py").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    code, (line,) = launch(work, override)
    assert code == 2
    assert line.startswith(f"error: {named}")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "override", ["hydra.sweep.dir=", "hydra.sweep.dir=..", "hydra.sweep.subdir=/x"]
)
def test_neither_is_a_studys_folder(tmp_path: Path, override: str, launch: Launch) -> None:
    code, (line,) = launch(tmp_path, "-m", override)
    assert code == 2
    assert line.startswith(f"error: {override}: must ")
    assert list(tmp_path.iterdir()) == []


def test_quotes_are_hinted_at_where_they_would_help(tmp_path: Path, launch: Launch) -> None:
    _, (line,) = launch(tmp_path, "study.name=é")
    assert line.endswith("""quote what is no plain word: "key='é'\"""")


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("missing", ["HOME", "git"])
def test_a_run_needs_neither_a_home_nor_git(tmp_path: Path, missing: str) -> None:
    variables = {"HOME": None} if missing == "HOME" else {"PATH": str(tmp_path)}
    done = run(tmp_path, "logger=offline", "hydra.run.dir=run", **variables)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert status_of(tmp_path / "run").state == "finished"
    if missing == "git":
        assert status_of(tmp_path / "run").git == {"commit": None, "dirty": None}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_with_hydra_changing_the_folder_names_and_places_are_the_same(tmp_path: Path) -> None:
    shown = []
    for name, chdir in (("stays", "false"), ("changes", "true")):
        words = ["-m", "seed=0,1", "steps=4", f"hydra.job.chdir={chdir}", f"study.name={name}"]
        done = run(tmp_path, *words)
        assert done.returncode == 0, done.stderr
        study = tmp_path / "multirun" / name
        shown.append([line for line in done.stdout.splitlines() if line.startswith("seed=")])
        assert {path.name for path in study.iterdir()} >= {"seed=0,steps=4", "seed=1,steps=4"}
    assert shown[0] == shown[1]
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["multirun"]


def test_a_clock_that_is_set_back_leaves_a_whole_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = iter(range(1000))
    start = datetime(2026, 1, 1, tzinfo=UTC)
    monkeypatch.setattr(status, "now", lambda: (start - timedelta(hours=next(ticks))).isoformat())
    fit(tmp_path / "run")
    found = status_of(tmp_path / "run")
    assert found.state == "finished"
    assert found.seconds > 0
    assert read_run(tmp_path / "run").state == "finished"
