"""A fork gets its own name: the real script, on a copy of the repository."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
PARTS = ("src", "conf", "scripts", "pyproject.toml", "README.md", "Makefile")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for part in PARTS:
        source = REPOSITORY / part
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, tmp_path / part, ignore=ignored)
        else:
            shutil.copy(source, tmp_path / part)
    commit = ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "a"]
    for words in (["init", "-q"], ["add", "."], commit):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    return tmp_path


def rename(folder: Path, name: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "scripts/rename.py", name]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_a_renamed_fork_composes_and_builds_under_its_own_name(copy: Path) -> None:
    assert rename(copy, "my_vision").returncode == 0
    left = [
        path
        for part in PARTS
        for path in (copy / part).rglob("*")
        if (copy / part).is_dir()
        if path.is_file() and path.name != "rename.py" and "gradflow" in path.read_text()
    ]
    assert left == []
    program = (
        "from my_vision.config import compose, instantiate\n"
        "from my_vision.training.build import build_classifier\n"
        "import my_vision\n"
        "print(my_vision.__file__, build_classifier(compose(), 10).net.head)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=copy,
        env=os.environ | {"PYTHONPATH": str(copy / "src")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert str(copy / "src" / "my_vision") in done.stdout
    assert "Linear" in done.stdout


@pytest.mark.parametrize("name", ["My-Project", "1st", "json", "gradflow", ""])
def test_a_name_that_python_cannot_import_is_refused_in_one_line(copy: Path, name: str) -> None:
    done = rename(copy, name)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert (copy / "src" / "gradflow").is_dir()


def test_a_tree_with_changes_is_left_alone(copy: Path) -> None:
    (copy / "README.md").write_text("changed")
    assert "commit them first" in rename(copy, "my_vision").stderr
    assert (copy / "src" / "gradflow").is_dir()
