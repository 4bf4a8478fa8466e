"""A fork gets its own name: the real script, on a copy of the repository.

The names that are tried are ones that no fork has, since a fork runs this file under its own name.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[2]
PARTS = ("src", "conf", "scripts", "tests", "pyproject.toml", "README.md", "Makefile", "LICENSE")


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    command = ["git", *who, *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for part in PARTS:
        source = REPOSITORY / part
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, tmp_path / part, ignore=ignored)
        else:
            shutil.copy(source, tmp_path / part)
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "a")
    return tmp_path


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    environment = os.environ | {"PYTHONPATH": str(folder / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def rename(folder: Path, name: str) -> subprocess.CompletedProcess[str]:
    return run(folder, "scripts/rename.py", name)


BUILDS = """
from pathlib import Path
from hydra.utils import get_object
import {name}
from gradflow.launch.compose import compose
from {name}.build import build_data, build_task

targets = set()
for file in Path("conf").rglob("*.yaml"):
    for line in file.read_text().splitlines():
        key, _, value = line.strip().partition(": ")
        if key == "_target_" and value.startswith("{name}."):
            targets.add(value)
            get_object(value)
config = compose()
print({name}.__file__, len(targets), build_task(config, build_data(config)).net.head)
"""


def test_a_renamed_fork_composes_and_builds_under_its_own_name(copy: Path) -> None:
    own_targets = {
        line.strip()
        for path in (copy / "conf").rglob("*.yaml")
        for line in path.read_text().splitlines()
        if line.strip().startswith("_target_: project.")
    }
    assert own_targets
    done = rename(copy, "zz_fork")
    assert done.returncode == 0, done.stderr
    assert "src/project is now src/zz_fork" in done.stdout
    built = run(copy, "-c", BUILDS.format(name="zz_fork"))
    assert built.returncode == 0, built.stderr
    file, targets, *head = built.stdout.split()
    assert Path(file).parent == copy / "src" / "zz_fork"
    assert int(targets) == len(own_targets)
    assert head[0].startswith("Linear")
    assert 'name = "zz-fork"' in (copy / "pyproject.toml").read_text()
    assert "project: zz_fork" in (copy / "conf/logger/offline.yaml").read_text()


def test_the_library_and_the_licence_are_left_as_they_are(copy: Path) -> None:
    rename(copy, "zz_fork")
    changed = git(copy, "diff", "HEAD", "--name-only").split()
    assert len(changed) > 20
    kept = ("src/gradflow/", "tests/gradflow/", "LICENSE", "CHANGELOG.md")
    assert [path for path in changed if path.startswith(kept)] == []
    for part in ("src/gradflow", "tests/gradflow"):
        for path in (REPOSITORY / part).rglob("*.py"):
            text = path.read_text()
            assert text == (copy / path.relative_to(REPOSITORY)).read_text()


def test_no_reference_to_the_old_package_is_left(copy: Path) -> None:
    rename(copy, "zz_fork")
    old = re.compile(
        r"\b(from|import) project\b|\bproject\.(config|data|models|tasks|train)\b|src/project"
    )
    for name in git(copy, "ls-files").split():
        if name.startswith(("src/gradflow/", "tests/gradflow/")) or name.endswith(".png"):
            continue
        if name not in ("scripts/rename.py", "tests/zz_fork/test_rename.py", "CHANGELOG.md"):
            assert not old.search((copy / name).read_text()), name


def test_a_fork_of_a_fork_can_be_renamed_again_once_committed(copy: Path) -> None:
    assert rename(copy, "zz_fork").returncode == 0
    assert "commit them first" in rename(copy, "zz_again").stderr
    git(copy, "add", ".")
    git(copy, "commit", "-qm", "b")
    assert "is already the project's name" in rename(copy, "zz_fork").stderr
    assert rename(copy, "zz_again").returncode == 0
    assert "src/zz_again/train.py" in git(copy, "ls-files", "src").split()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("My-Project", "must start with a letter"),
        ("1st", "must start with a letter"),
        ("", "must start with a letter"),
        ("class", "not be a keyword"),
        ("json", "is the name of another module"),
        ("torch", "is the name of another module"),
        (
            "train",
            "is the name of another module",
        ),  # scripts/train.py comes first on the path of every script
        ("gradflow", "is the name of another module"),
        ("project", "already"),
    ],
)
def test_a_name_that_a_package_cannot_have_is_refused_in_one_line(
    copy: Path, name: str, reason: str
) -> None:
    done = rename(copy, name)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert reason in done.stderr
    assert done.stderr.count("\n") == 1
    assert git(copy, "status", "--porcelain") == ""


def test_a_tree_with_changes_is_left_alone(copy: Path) -> None:
    (copy / "README.md").write_text("changed")
    assert "commit them first" in rename(copy, "zz_fork").stderr
    assert (copy / "src" / "project").is_dir()


def test_a_folder_without_git_is_refused_in_one_line(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(copy / ".git")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(copy.parent))
    done = rename(copy, "zz_fork")
    assert done.returncode == 1
    assert done.stderr.startswith("error: git: ")
    assert done.stderr.count("\n") == 1
