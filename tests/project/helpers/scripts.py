"""A script of the repository, run in this process, which has its imports already."""

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from small_run import REPOSITORY


class Done(NamedTuple):
    """How a script has ended, and what it has printed."""

    code: int
    out: str
    err: str


Script = Callable[..., Done]


def caller(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Script:
    """Return a function that runs the script `name` with words."""

    def call(name: str, *words: str | Path) -> Done:
        monkeypatch.setattr("sys.argv", [name, *map(str, words)])
        capsys.readouterr()
        code = 0
        try:
            runpy.run_path(str(REPOSITORY / "scripts" / name), run_name="__main__")
        except SystemExit as end:
            code = int(end.code or 0)
        return Done(code, *capsys.readouterr())

    return call
