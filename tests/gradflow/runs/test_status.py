"""status.json: read as it was written, or not at all."""

import json
import math
import subprocess
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gradflow.runs.files import claimed
from gradflow.runs.status import Status, git_state


def test_what_is_written_is_read(tmp_path: Path) -> None:
    status = Status("finished", seconds=2, metrics={"loss": math.inf, "accuracy": 1}, threads=3)
    status.write(tmp_path)
    assert Status.read(tmp_path) == status
    assert [path.name for path in tmp_path.iterdir()] == ["status.json"]


def test_runs_that_begin_within_one_second_know_which_was_first() -> None:
    before = datetime.now(UTC)
    begun = datetime.fromisoformat(Status("running").start)
    assert before <= begun <= datetime.now(UTC)


def test_a_status_of_an_earlier_version_has_the_defaults_of_what_it_lacks(tmp_path: Path) -> None:
    values = asdict(Status("finished"))
    del values["threads"]
    (tmp_path / "status.json").write_text(json.dumps(values))
    read = Status.read(tmp_path)
    assert read is not None
    assert read.threads is None


@pytest.mark.parametrize(
    "changes",
    [
        {"seconds": "12"},
        {"start": 5},
        {"metrics": None},
        {"metrics": {"loss": "2"}},
        {"state": "done"},
        {"steps": 1.5},
        {"of_a_later_version": 1},
    ],
    ids=str,
)
def test_other_fields_and_types_are_no_status(tmp_path: Path, changes: dict[str, Any]) -> None:
    (tmp_path / "status.json").write_text(json.dumps(asdict(Status("finished")) | changes))
    assert Status.read(tmp_path) is None


def test_no_file_beside_it_survives_a_failure_or_the_next_claim(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        with pytest.raises(OSError, match="No space left"):
            Status("running").write(tmp_path)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / ".status.json.123.unfinished").touch()
    with claimed(tmp_path):
        assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_the_commit_is_that_of_the_code_wherever_a_run_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = Path(__file__).parent
    expected = git(here, "rev-parse", "HEAD")
    git(tmp_path, "init", "-q")
    git(
        tmp_path, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "--allow-empty", "-qm", "x"
    )
    other = git(tmp_path, "rev-parse", "HEAD")
    monkeypatch.chdir(tmp_path)
    assert git_state()["commit"] == expected != other


@pytest.mark.parametrize("name", ["data", "outputs", "multirun", ".venv"])
def test_a_link_where_a_folder_is_ignored_is_ignored_too(tmp_path: Path, name: str) -> None:
    repository = Path(__file__).parents[3]
    (tmp_path / ".gitignore").write_text((repository / ".gitignore").read_text())
    git(tmp_path, "init", "-q")
    (tmp_path / name).symlink_to(repository / "src")
    assert git(tmp_path, "status", "--porcelain") == "?? .gitignore"


def git(folder: Path, *words: str) -> str:
    command = ["git", "-C", str(folder), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
