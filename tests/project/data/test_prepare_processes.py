"""Several real processes on one folder: one download for all, and nothing false after kill -9."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_cifar
from http_source import serving

from project.data.cifar10 import rows

pytestmark = pytest.mark.slow

PROGRAM = Path(tiny_cifar.__file__)


def start(tiny: tiny_cifar.Files, root: Path, url: str, *die: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(PROGRAM), str(tiny.folder), str(root), url, *die],
        stdout=subprocess.PIPE,
        text=True,
    )


def wait_for(words: str, process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    assert any(words in line for line in process.stdout)


def names(root: Path) -> set[str]:
    return {path.name for path in root.iterdir()}


def test_one_download_serves_all_processes_and_a_killed_one_leaves_nothing_false(
    tiny: tiny_cifar.Files, tmp_path: Path
) -> None:
    root, other_root = tmp_path / "data", tmp_path / "other"
    with serving(tiny.archive.read_bytes()) as server:
        stuck = start(tiny, root, server.url("stalling"))
        dying = start(tiny, other_root, server.url("good"), "die")
        wait_for("CIFAR-10 from zenodo", stuck)
        waiting = [start(tiny, root, server.url("good")) for _ in range(2)]
        for process in waiting:
            wait_for("another process is loading CIFAR-10", process)
        stuck.kill()  # in the midst of its download
        for process in (stuck, dying, *waiting):
            output, _ = process.communicate(timeout=60)
            assert process.returncode == (-signal.SIGKILL if process in (stuck, dying) else 0)
            assert ("images 600" in output) == (process in waiting)
        # One of the two that waited fetched it for both, and swept up after the killed one.
        assert server.requests.count("stalling") == 1
        assert server.requests.count("good") == 2  # one for each folder
        assert names(root) == {".cifar10.lock", rows.FILE}
        # The one that died with everything written, but not in place, left no data either …
        (leftover,) = other_root.glob(".cifar10-partial-*")
        assert (leftover / rows.FILE).stat().st_size == (root / rows.FILE).stat().st_size
        assert rows.FILE not in names(other_root)


def test_the_next_attempt_after_a_kill_sweeps_up_and_succeeds(
    tiny_world: tiny_cifar.Files, tmp_path: Path
) -> None:
    half = tmp_path / ".cifar10-partial-abc" / "zenodo"
    half.mkdir(parents=True)
    (half / rows.FILE).write_bytes(b"half")
    (tmp_path / ".cifar10.lock").touch()  # a killed process leaves the file, not the lock
    shutil.copy(tiny_world.archive, tmp_path)
    assert len(tiny_cifar.data(tmp_path).load().train.labels) == 400
    assert names(tmp_path) == {".cifar10.lock", rows.FILE, tiny_world.archive.name}
