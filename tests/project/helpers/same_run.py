"""Two runs that should be the same up to rounding, whatever has started their processes."""

import json
import socket
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from small_run import SMALL

from gradflow.gradients.record import read_gradients

# Without batch statistics, two shares of a batch are one batch. The rate is low, so that rounding
# does not grow.
EXACT = [*SMALL, "norm=none", "lr=0.01", "monitor.every_n_steps=1"]
DDP = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"]
HELPERS = Path(__file__).parent


def status(folder: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((folder / "status.json").read_text())
    return values


def odd_net(tmp_path: Path, name: str, rank: int = 1) -> list[str]:
    """Return the overrides for one of the odd nets."""
    (tmp_path / "odd_nets.py").write_text((HELPERS / "odd_nets.py").read_text())
    return [f"model._target_=odd_nets.{name}", f"+model.rank={rank}", "init=default"]


def assert_same_run(one: Path, other: Path) -> None:
    """Two runs saw the same images in each step, and logged what all processes found."""
    assert status(one)["state"] == status(other)["state"] == "finished"
    wanted = pl.col("kind") == "gradient"
    a, b = (read_gradients(x).filter(wanted).sort("step", "index") for x in (one, other))
    assert a.select("step", "name").rows() == b.select("step", "name").rows()
    torch.testing.assert_close(a["norm"].to_torch(), b["norm"].to_torch(), rtol=1e-3, atol=1e-6)
    first = len(a) // 8  # of eight steps; later ones carry the rounding of those before
    torch.testing.assert_close(
        a["norm"].to_torch()[:first], b["norm"].to_torch()[:first], rtol=1e-5, atol=0
    )
    a, b = (pl.read_csv(folder / "metrics.csv").drop_nulls("train/loss") for folder in (one, other))
    assert a["step"].to_list() == b["step"].to_list() == [3, 7]
    for name in ("train/loss", "train/accuracy"):
        torch.testing.assert_close(a[name].to_torch(), b[name].to_torch(), rtol=1e-4, atol=1e-5)
    assert status(one)["metrics"] == pytest.approx(status(other)["metrics"], rel=1e-4, abs=1e-5)


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("", 0))
        port: int = server.getsockname()[1]
        return port
