"""What the template's tests share: the repository's conf/, found from this file's own place."""

import os
from pathlib import Path

import pytest
from same_run import EXACT
from small_run import run

# As in tests/gradflow/conftest.py, which says why.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("WANDB_MODE", "offline")


@pytest.fixture(scope="session")
def conf() -> Path:
    """The folder of the configuration files, wherever the tests are run from."""
    return Path(__file__).resolve().parents[2] / "conf"


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of `same_run.EXACT` with seed 1 that one process computes."""
    folder = tmp_path_factory.mktemp("single")
    done = run(folder, *EXACT, "seed=1", f"hydra.run.dir={folder}")
    assert done.returncode == 0, done.stderr
    return folder
