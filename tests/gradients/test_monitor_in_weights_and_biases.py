"""What reaches Weights & Biases: an offline run, read back by W&B's own program."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import wandb
from lightning.pytorch.loggers import WandbLogger
from tiny_run import TinyCNN, fit

from gradflow.gradients.histogram import measure
from gradflow.gradients.record import read_gradients
from gradflow.weights_and_biases import histogram

NAMES = [name for name, _ in TinyCNN().named_parameters()]


@pytest.fixture
def logger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WandbLogger]:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "wandb_data"))
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path / "wandb_cache"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "wandb_config"))
    yield WandbLogger(save_dir=tmp_path, project="test", offline=True)
    wandb.finish()


def log_file(folder: Path) -> Path:
    (path,) = (folder / "wandb").glob("offline-run-*/run-*.wandb")
    return path


def history(folder: Path) -> list[dict[str, Any]]:
    """The rows that were logged, as `wandb leet inspect` prints them."""
    program = [str(Path(sys.executable).with_name("wandb")), "leet", "inspect", "--json"]
    printed = subprocess.run(
        [*program, str(log_file(folder))], capture_output=True, text=True, check=True
    )
    records = [json.loads(line) for line in printed.stdout.splitlines()]
    return [record["history"]["item"] for record in records if record["type"] == "history"]


def test_each_record_is_one_log_call_that_holds_what_the_run_folder_holds(
    tmp_path: Path, logger: WandbLogger
) -> None:
    fit(tmp_path, every_n_steps=5, logger=logger, log_every_n_steps=100)
    wandb.finish()
    rows = [row for row in history(tmp_path) if any(key.startswith("gradient") for key in row)]
    assert [row["trainer/global_step"] for row in rows] == [0, 5, 10, 11]
    record = read_gradients(tmp_path).rows_by_key(["step", "name"], named=True, unique=True)
    for row in rows:
        for name in NAMES:
            recorded = record[row["trainer/global_step"], name]
            values = row[f"gradients/{name}.values"]
            assert row[f"gradients/{name}._type"] == "histogram"
            assert row[f"gradients/{name}.bins"] == list(range(-127, 26))
            assert values[0] == recorded["zeros"] + recorded["subnormals"]
            np.testing.assert_array_equal(values[1:-1], recorded["bins"][:150])
            assert sum(values) == recorded["elements"]
            assert row[f"gradient_norm/{name}"] == recorded["norm"]
        assert sum(key.startswith("gradient") for key in row) == 4 * len(NAMES)


def test_no_element_is_dropped_from_the_histogram() -> None:
    x = torch.tensor(
        [0.0, 1e-40, 2.0**-126, 0.75, 1.0, 2.0**23, 2.0**24, 1e38, torch.inf, torch.nan]
    )
    m = measure([x])
    shown = histogram(m.bins[0], int(m.zeros[0] + m.subnormals[0]), int(m.infs[0] + m.nans[0]))
    counts = dict(zip(shown.bins, shown.histogram, strict=False))
    assert {edge: n for edge, n in counts.items() if n} == {
        -127: 2,  # 0 and a subnormal number
        -126: 1,
        -1: 1,  # 0.75
        0: 1,  # 1
        23: 1,
        24: 4,  # 2^24, 1e38, Inf and NaN
    }


def test_a_record_of_42_parameters_takes_less_than_100_kilobytes(
    tmp_path: Path, logger: WandbLogger
) -> None:
    generator = torch.Generator().manual_seed(0)
    layers = [torch.randn(1600, generator=generator) * 0.5**i for i in range(42)]
    m = measure(layers)
    values: dict[str, Any] = {}
    for i in range(42):
        name = f"net.blocks.{i}.conv1.weight"
        values[f"gradients/{name}"] = histogram(m.bins[i], int(m.zeros[i]), 0)
        values[f"gradient_norm/{name}"] = float(m.norm[i])
    for step in range(20):
        logger.log_metrics(values, step=step)
    wandb.finish()
    assert log_file(tmp_path).stat().st_size / 20 < 100_000
