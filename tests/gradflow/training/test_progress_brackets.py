"""A run's name reaches the screen as it is: rich would read its brackets as markup."""

from pathlib import Path

import pytest
from small_project import CONF, train

from gradflow.launch.compose import compose


def test_brackets_in_a_runs_name_are_shown_on_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("COLUMNS", "200")
    train(compose(["steps=4"], CONF), tmp_path / "run", "tags=[/a],remedy=[lower_lr,clip]")
    assert "tags=[/a],remedy=[lower_lr,clip]" in capsys.readouterr().err
