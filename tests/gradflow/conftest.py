"""What the library's tests share. They need no project and no conf/ but their own."""

import os
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest

# Before torch is imported, here and in every process that a test starts. The nets of the tests are
# tiny: a second thread gains nothing, and where another process is busy its waiting costs much.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# The W&B client reads this once a process, whichever test comes first; and a WandbLogger that is
# only told `offline=True` asks for an account where an earlier run of the process did not.
os.environ.setdefault("WANDB_MODE", "offline")

sys.path.insert(0, str(Path(__file__).with_name("helpers")))

MARKERS = {
    "slow": "takes many seconds: left to the suite of all tests",
    "server": "talks to a Weights & Biases server on this machine",
    "browser": "opens the comparison page in Chromium",
    "distributed": "starts several processes of one training",
    "gpu": "needs an accelerator",
}


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers of these tests, so that a fork's pyproject.toml need not know them."""
    for name, meaning in MARKERS.items():
        config.addinivalue_line("markers", f"{name}: {meaning}")


@pytest.fixture
def histograms_read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows with bins, nine tenths of a record's bytes, are read from it at a time."""
    read: list[int] = []
    collect = pl.LazyFrame.collect

    def noted(self: pl.LazyFrame, *arguments: Any, **options: Any) -> Any:
        rows = collect(self, *arguments, **options)
        if isinstance(rows, pl.DataFrame) and "bins" in rows.columns:
            read.append(int(rows["bins"].is_not_null().sum()))
        return rows

    monkeypatch.setattr(pl.LazyFrame, "collect", noted)
    return read
