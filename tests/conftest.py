"""What every test may ask for: the repository's conf/, found from this file's own place."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def conf() -> Path:
    """The folder of the configuration files, wherever the tests are run from."""
    return Path(__file__).resolve().parents[1] / "conf"
