"""A fork's life: named, given a net and data of its own, and updated from upstream by git."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

REPOSITORY = Path(__file__).parents[2]
NET = '''"""A net of the fork's own."""

from typing import Any

from torch import Tensor, nn


class Tiny(nn.Module):
    """One convolution and a head."""

    def __init__(self, *, activation: Any, norm: Any, num_classes: int, width: int = 4) -> None:
        super().__init__()
        self.conv, self.norm, self.act = nn.Conv2d(3, width, 3), norm(width), activation()
        self.head = nn.Linear(width, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, 3, H, W) to logits (B, classes)."""
        logits: Tensor = self.head(self.act(self.norm(self.conv(images))).mean(dim=(2, 3)))
        return logits
'''
DATA = '''"""Data of the fork's own."""

from my_vision.data import Synthetic


class Own(Synthetic):
    """The made-up classes, under another name."""
'''
MARKED = '''"""A test of a newer library, whose marker the fork's pyproject.toml does not know."""

import pytest


@pytest.mark.network
def test_of_upstream() -> None:
    from gradflow.added import ADDED

    assert ADDED
'''


def git(folder: Path, *words: str) -> str:
    who = ("-c", "user.name=a", "-c", "user.email=a@b")
    command = ["git", "-C", str(folder), *who, *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def commit(folder: Path, message: str) -> None:
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", message)


def python(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run in a fork, which has no environment of its own here: its src/ comes first."""
    environment = os.environ | {"PYTHONPATH": str(folder / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, *words]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture
def upstream(tmp_path: Path) -> Path:
    """The repository as it is now, with one more file in the library, as another repository."""
    folder = tmp_path / "upstream"
    folder.mkdir()
    files = git(REPOSITORY, "ls-files", "--cached", "--others", "--exclude-standard", "-z")
    for name in filter(None, files.split("\0")):
        if (REPOSITORY / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((REPOSITORY / name).read_bytes())
    (folder / "src/gradflow/deleted_later.py").write_text('"""Gone in the next version."""\n')
    git(folder, "init", "-q", "-b", "main")
    commit(folder, "first version")
    return folder


def a_fork(upstream: Path, folder: Path) -> Path:
    """A clone with the name my_vision, a net and data of its own, used by default."""
    git(upstream.parent, "clone", "-q", str(upstream), str(folder))
    git(folder, "remote", "rename", "origin", "upstream")
    named = python(folder, "scripts/rename.py", "my_vision")
    assert named.returncode == 0, named.stderr
    commit(folder, "named")
    (folder / "src/my_vision/models/tiny.py").write_text(NET)
    (folder / "conf/model/tiny.yaml").write_text(
        "# One convolution. It is the fork's own.\n_target_: my_vision.models.tiny.Tiny\nwidth: 4\n"
    )
    (folder / "src/my_vision/data/own.py").write_text(DATA)
    kept = (folder / "conf/data/synthetic.yaml").read_text().splitlines()
    own = [line.replace("my_vision.data.Synthetic", "my_vision.data.own.Own") for line in kept]
    (folder / "conf/data/own.yaml").write_text("\n".join(own) + "\n")
    (folder / "data").symlink_to(REPOSITORY / "data")
    commit(folder, "a net and data of its own")
    return folder


def a_newer_library(upstream: Path) -> None:
    """Upstream adds a file, deletes one, changes one, and raises a marker and a floor."""
    library = upstream / "src/gradflow"
    (library / "added.py").write_text('"""New."""\n\nADDED = True\n')
    (library / "deleted_later.py").unlink()
    (library / "version.py").write_text('"""The version."""\n\n__version__ = "9.9.9"\n')
    floors = (library / "pyproject.toml").read_text()
    assert '"numpy>=2.0"' in floors
    (library / "pyproject.toml").write_text(floors.replace('"numpy>=2.0"', '"numpy>=2.1"'))
    conftest = upstream / "tests/gradflow/conftest.py"
    marker = 'MARKERS = {\n    "network": "asks a server",'
    conftest.write_text(conftest.read_text().replace("MARKERS = {", marker))
    (upstream / "tests/gradflow/test_added.py").write_text(MARKED)
    # Changes outside of the library, which no fork wants.
    (upstream / "src/project/train.py").write_text("raise SystemExit('not for forks')\n")
    if (upstream / "src/lab").exists():
        (upstream / "src/lab/added.py").write_text('"""More."""\n')
    commit(upstream, "newer")


def update(folder: Path) -> set[str]:
    """Do what docs/fork.md says; return the files that git then sees as changed."""
    git(folder, "fetch", "-q", "upstream")
    git(folder, "checkout", "--no-overlay", "upstream/main", "--", "src/gradflow", "tests/gradflow")
    changed = git(folder, "status", "--porcelain").splitlines()
    return {line.split(maxsplit=1)[0] + " " + line.split(maxsplit=1)[1] for line in changed}


UPDATED = {
    "A src/gradflow/added.py",
    "A tests/gradflow/test_added.py",
    "D src/gradflow/deleted_later.py",
    "M src/gradflow/pyproject.toml",
    "M src/gradflow/version.py",
    "M tests/gradflow/conftest.py",
}
SMALL = ["logger=none", "steps=4", "data=own", "model=tiny", "init=kaiming_normal", "threads=1"]


@pytest.mark.parametrize("bare", [False, True], ids=["whole", "bare"])
def test_a_fork_takes_a_newer_library_and_its_own_tests_and_the_librarys_pass(
    tmp_path: Path, upstream: Path, bare: bool
) -> None:
    fork = a_fork(upstream, tmp_path / "fork")
    if bare:
        subprocess.run(["make", "-s", "bare"], cwd=fork, check=True, capture_output=True)
        commit(fork, "without the laboratory")
    a_newer_library(upstream)
    assert update(fork) == UPDATED
    assert (fork / "src/lab").exists() is not bare
    commit(fork, "a newer library")

    trained = python(fork, "scripts/train.py", *SMALL, f"hydra.run.dir={tmp_path}/run")
    assert trained.returncode == 0, trained.stderr
    status = (tmp_path / "run/status.json").read_text()
    assert '"gradflow": "9.9.9"' in status
    # All of a bare fork's own tests; of the whole fork, those that see its new files. With both,
    # some of the library's.
    library = ["test_added.py", "test_imports.py", "runs", "launch", "training"]
    own = ["."] if bare else ["config/test_every_file.py", "models/test_model_configs.py"]
    chosen = [f"tests/gradflow/{name}" for name in library]
    chosen += [f"tests/my_vision/{name}" for name in own]
    tests = python(fork, "-m", "pytest", "-q", "-p", "no:cacheprovider", *chosen)
    assert tests.returncode == 0, tests.stdout[-3000:]


def test_a_floor_that_is_not_met_after_an_update_is_one_line(
    tmp_path: Path, upstream: Path
) -> None:
    fork = a_fork(upstream, tmp_path / "fork")
    floors = upstream / "src/gradflow/pyproject.toml"
    floors.write_text(floors.read_text().replace("numpy>=2.0", "numpy>=999"))
    commit(upstream, "newer")
    assert update(fork) == {"M src/gradflow/pyproject.toml"}
    refused = python(fork, "scripts/train.py", *SMALL)
    assert refused.returncode == 2
    assert refused.stderr.startswith("error: numpy ")
    assert refused.stderr.count("\n") == 1
    assert "needs numpy>=999: `make lock && make setup`" in refused.stderr
