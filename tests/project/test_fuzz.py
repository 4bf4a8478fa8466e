"""Any command line ends with one line and exit status 2, or with a run or a study in its folder.

The lines come from `fuzz.py`, by a seed, so that a failing one can be typed again.
"""

from __future__ import annotations

import runpy
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import NamedTuple

import fuzzed  # the command lines name it; imported once here
import processes
import pytest
from fuzz import Grammar
from small_run import REPOSITORY, SMALL

from gradflow.launch.compose import compose

SEED, CHUNKS, LINES = 12, 10, 400
SECONDS = 120  # far more than any of the runs takes, on a busy machine too
BASE = [*SMALL, "steps=2", "project=fuzzed.PROJECT"]


class Ended(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture(scope="module")
def lines() -> list[list[str]]:
    conf = REPOSITORY / "conf"
    grammar = Grammar(compose([], conf).model_dump(), conf, SEED)
    return list(grammar.lines(CHUNKS * LINES))


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory below two others, in which nothing may appear."""
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    for kind in ("DATA", "CACHE", "CONFIG"):
        monkeypatch.setenv(f"WANDB_{kind}_DIR", str(tmp_path / "wandb"))

    def hangs(signal_number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"took more than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, hangs)
    yield folder
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def in_process(words: list[str], capsys: pytest.CaptureFixture[str]) -> Ended:
    """Run scripts/train.py in this process. What it raises, but to exit, is the test's failure."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["train.py", *words])
        capsys.readouterr()
        code = 0
        signal.alarm(SECONDS)
        try:
            runpy.run_path(str(REPOSITORY / "scripts" / "train.py"), run_name="__main__")
        except SystemExit as end:
            code = int(end.code or 0)
        signal.alarm(0)
        return Ended(code, *capsys.readouterr())


def fault(words: list[str], ended: Ended, work: Path) -> str | None:
    """Return what is wrong with how a command line ended; remove what it has written."""
    top = work.parents[1]
    named = ("hydra.run.dir", "hydra.sweep.dir")
    moved = any(word.lstrip("+~").startswith(named) for word in words)
    allowed = [work] if moved else [work / "outputs", work / "multirun"]
    outside = [
        path
        for path in top.rglob("*")
        if path.is_file()
        and path.relative_to(top).parts[0] != "wandb"
        and not any(path.is_relative_to(folder) for folder in allowed)
    ]
    for path in work.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    if "Traceback" in ended.err + ended.out:
        return f"a traceback: {(ended.out + ended.err)[-600:]}"
    told = "refused: " in ended.out or "failed: " in ended.out  # by a study, of its jobs
    if ended.code not in (0, 2) and not (ended.code == 1 and "-m" in words and told):
        return f"exit status {ended.code}: {ended.err[-600:]}"
    lines = ended.err.splitlines()
    if ended.code == 2 and (len(lines) != 1 or not lines[0].startswith("error: ")):
        return f"not one line: {ended.err[-600:]}"
    if outside:
        return f"wrote {', '.join(map(str, outside[:3]))}"
    return None


def faults_of(chunk: list[list[str]], work: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    found = []
    for words in chunk:
        try:
            problem = fault(words, in_process([*BASE, *words], capsys), work)
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
        if problem is not None:
            found.append(f"{words}: {problem}")
    return found


def test_the_grammar_has_as_many_overrides_as_are_claimed(lines: list[list[str]]) -> None:
    assert sum(map(len, lines)) >= 5000
    assert len({word for words in lines for word in words}) > 3500


@pytest.mark.timeout(900)
def test_a_hundred_lines_end_with_one_line_or_a_run(
    lines: list[list[str]], work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert faults_of(lines[:100], work, capsys) == []


@pytest.mark.fuzz
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_every_line_ends_with_one_line_or_a_run(
    chunk: int, lines: list[list[str]], work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert faults_of(lines[chunk * LINES : (chunk + 1) * LINES], work, capsys) == []


@pytest.mark.fuzz
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("mode", [[], ["-m", "study.name=fuzzed"]])
@pytest.mark.parametrize("chunk", range(4))
def test_so_does_the_real_command_line(
    chunk: int, mode: list[str], lines: list[list[str]], work: Path
) -> None:
    found = []
    program = REPOSITORY / "scripts" / "train.py"
    for drawn in lines[chunk * 25 : (chunk + 1) * 25]:
        words = [*mode, *drawn]
        helpers = [str(Path(fuzzed.__file__).parent)]
        done = processes.run(Path(helpers[0]), program, *BASE, *words, cwd=work)
        ended = Ended(done.returncode, done.stdout, done.stderr)
        if (problem := fault(words, ended, work)) is not None:
            found.append(f"{words}: {problem}")
    assert found == []
