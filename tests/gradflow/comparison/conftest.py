"""What the tests of the page in a browser share; each file makes a `study` of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gradflow.comparison.page import build_page
from gradflow.runs.read import read_runs

if TYPE_CHECKING:  # playwright takes a while, and most tests here open no browser
    from playwright.sync_api import Browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, for the tests of one file."""
    from opened_page import open_browser

    yield from open_browser()


@pytest.fixture(scope="module")
def path(study: Path) -> Path:
    """The page of the file's own study."""
    return build_page(read_runs([study]), study / "page.html", "a study")
