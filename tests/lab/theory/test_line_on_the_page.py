"""A study that was really trained, on the page in a real browser, beside its theory."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from opened_page import Opened, attribute, move, open_browser
from playwright.sync_api import Browser

from gradflow.comparison.page import build_page
from gradflow.runs.read import read_runs
from lab.theory.line import THEORY

pytestmark = pytest.mark.browser


@pytest.fixture
def browser() -> Iterator[Browser]:
    yield from open_browser()


def test_a_study_that_was_trained_is_shown_with_its_theory_at_step_0_alone(
    browser: Browser, tmp_path: Path
) -> None:
    root = Path(__file__).resolve().parents[3]
    words = ["pathology=vanishing", "norm=none,group", "data=synthetic", "steps=12"]
    words += ["model.depth=8", "model.width=4", "monitor.every_n_steps=4", "logger=none"]
    words += ["trainer=cpu", f"hydra.sweep.dir={tmp_path}/study"]
    train = [sys.executable, "scripts/train.py", "-m", *words]
    subprocess.run(train, cwd=root, check=True, capture_output=True, timeout=280)
    path = build_page(read_runs([tmp_path]), tmp_path / "page.html", "trained", overlays=[THEORY])
    opened = Opened(browser, path)
    page = opened.page
    assert page.evaluate("gradflow.steps") == [0, 4, 8, 11]
    theory = page.locator("#profile-gradient g.overlay")
    assert theory.count() == 1
    configuration = attribute(theory, "configuration")
    measured = page.locator(
        f"#profile-gradient g.series:not(.overlay)[data-configuration='{configuration}']"
    )
    predicted = [float(word) for word in attribute(theory, "values").split()]
    values = [float(word) for word in attribute(measured, "values").split()]
    assert len(predicted) == len(values) == 8
    assert predicted == pytest.approx(values, abs=1.0)  # a narrow net; the theory's own tests tell
    assert "GroupNorm" in page.locator("#profile-gradient .note").inner_text()
    move(page, 1)
    assert theory.count() == 0
    opened.close()
