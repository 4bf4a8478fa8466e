"""Every test here composes from the repository's conf/, whatever the working directory was."""

import pytest
from small_run import REPOSITORY


@pytest.fixture(autouse=True)
def in_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
