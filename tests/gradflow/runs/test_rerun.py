"""A finished run that is met again: its settings, its code, and its place when it is redone."""

from pathlib import Path

import pytest
import yaml
from hand_made import a_folder

from gradflow.runs.rerun import EARLIER, has_code, has_settings, set_aside
from gradflow.runs.status import Status


@pytest.mark.parametrize(
    ("recorded", "asked", "same"),
    [
        ({"lr": 0.1}, {"lr": 0.1}, True),
        ({"lr": 1}, {"lr": 1.0}, True),
        ({"lr": 0.1}, {"lr": 0.2}, False),
        ({"lr": 0.1}, {"lr": 0.1, "new": 3}, True),  # a key that the older version did not know
        ({"callbacks": {}}, {"callbacks": {"timer": {"duration": 3}}}, False),
        ({"callbacks": {"timer": {"duration": 3}}}, {"callbacks": {}}, False),
        ({"logger": {"mode": "none"}}, {"logger": {"mode": "online"}}, True),
    ],
)
def test_settings_are_compared_by_key(
    tmp_path: Path, recorded: dict[str, object], asked: dict[str, object], same: bool
) -> None:
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(recorded))
    assert has_settings(tmp_path, asked) == same


@pytest.mark.parametrize(
    ("then", "now", "same"),
    [
        ({"commit": "a", "dirty": False}, {"commit": "a", "dirty": False}, True),
        ({"commit": "a", "dirty": False}, {"commit": "b", "dirty": False}, False),
        ({"commit": "a", "dirty": False}, {"commit": "a", "dirty": True, "changes": "1"}, False),
        (
            {"commit": "a", "dirty": True, "changes": "1"},
            {"commit": "a", "dirty": True, "changes": "1"},
            True,
        ),
        (
            {"commit": "a", "dirty": True, "changes": "1"},
            {"commit": "a", "dirty": True, "changes": "2"},
            False,
        ),
        ({"commit": None, "dirty": None}, {"commit": "a", "dirty": False}, True),
    ],
)
def test_code_is_compared_by_commit_and_changes(
    then: dict[str, str | bool | None], now: dict[str, str | bool | None], same: bool
) -> None:
    assert has_code(Status("finished", git=then), now) == same


def test_a_run_that_is_redone_leaves_its_files_below_its_folder(tmp_path: Path) -> None:
    folder = a_folder(tmp_path / "run")
    before = {path.name for path in folder.iterdir()}
    (folder / ".hydra").mkdir(exist_ok=True)
    set_aside(folder)
    assert {path.name for path in folder.iterdir()} <= {EARLIER, ".hydra"}
    (kept,) = (folder / EARLIER).iterdir()
    assert {path.name for path in kept.iterdir()} == before - {".hydra", ".lock"}
