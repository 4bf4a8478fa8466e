"""What the template's tests share: the repository's conf/, found from this file's own place."""

import os
from pathlib import Path

import pytest

# As in tests/gradflow/conftest.py, which says why.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("WANDB_MODE", "offline")


@pytest.fixture(scope="session")
def conf() -> Path:
    """The folder of the configuration files, wherever the tests are run from."""
    return Path(__file__).resolve().parents[2] / "conf"
