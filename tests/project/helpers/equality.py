"""Whether a server holds what a run's folder holds: every number, file and word."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from gate import Gate
from wandb_server import WandbServer

from gradflow.gradients.flow import read_flows
from gradflow.gradients.record import read_gradients
from gradflow.gradients.verdict import Verdict
from gradflow.runs.metrics import read_rows
from gradflow.runs.status import Status
from gradflow.runs.wandb_config import compared
from project.config import Config

_TABLES = ("gradient_profile_table", "gradient_histogram_table")


def assert_server_holds(
    server: WandbServer, gate: Gate, folder: Path, *, group: str | None, tags: list[str]
) -> None:
    """Compare the run of `folder` with the server's storage, and with what it has received."""
    status = Status.read(folder)
    assert status is not None
    assert status.wandb_id is not None
    stored = server.run(status.wandb_id)

    assert stored.tags == tags
    assert gate.upserted[status.wandb_id].get("groupName") == group
    assert gate.exit_codes[status.wandb_id] == (0 if status.state == "finished" else 1)

    config = compared(Config.load(folder / "config.yaml"))
    config |= {"git": status.git, "folder": str(folder)}
    assert _without_nothing(stored.config) == _without_nothing(config)

    verdict = Verdict.read(folder)
    assert stored.summary.get("verdict") == (verdict.kind if verdict else None)
    assert stored.summary.get("verdict_evidence") == (verdict.evidence if verdict else None)

    assert_history_is_the_record(stored.history, folder)
    pictures = [row["gradient_flow_map"] for row in stored.history if "gradient_flow_map" in row]
    assert len(pictures) == (1 if verdict else 0)
    for picture in pictures:
        (file,) = (folder / "wandb").glob(f"*run-*/files/{picture['path']}")
        assert (stored.files / picture["path"]).read_bytes() == file.read_bytes()

    tables = [row[key] for row in stored.history for key in _TABLES if key in row]
    assert len(tables) == (len(_TABLES) if verdict else 0)
    for table in tables:
        (file,) = (folder / "wandb").glob(f"*run-*/files/{table['path']}")
        assert (stored.files / table["path"]).read_bytes() == file.read_bytes()

    record = stored.files / "record"
    for name in ("config.yaml", "metrics.csv", "verdict.json", "status.json"):
        if (folder / name).exists():
            assert (record / name).read_bytes() == (folder / name).read_bytes()
        else:
            assert not (record / name).exists()
    assert read_gradients(record).equals(read_gradients(folder))


def assert_history_is_the_record(history: list[dict[str, Any]], folder: Path) -> None:
    """Check that each row of metrics.csv and each gradient record is one row, sorted by step."""
    rows = [{k: _number(v) for k, v in row.items()} for row in history]
    records = [row for row in rows if any(key.startswith("gradient_flow/") for key in row)]
    metrics = [row for row in rows if not any(key.startswith("gradient_") for key in _others(row))]
    expected = [{k: float(v) for k, v in row.items() if v} for row in read_rows(folder)]
    assert [_as_text(row) for row in metrics] == [
        _as_text({"trainer/global_step": row.pop("step"), **row}) for row in expected
    ]

    record = read_gradients(folder)
    flows = read_flows(record)
    assert [row["trainer/global_step"] for row in records] == [flow.step for flow in flows]
    gradients = record.filter(pl.col("kind") == "gradient", pl.col("bins").is_not_null())
    for row, flow in zip(records, flows, strict=True):
        for figure in ("zeros", "non_finite", "first_over_last", "decades_per_layer"):
            known = getattr(flow, figure)
            assert row.get(f"gradient_flow/{figure}") == (known if math.isfinite(known) else None)
        names = set()
        for parameter in gradients.filter(pl.col("step") == flow.step).iter_rows(named=True):
            histogram = row[f"gradients/{parameter['name']}"]
            names.add(f"gradients/{parameter['name']}")
            counts = histogram["values"]
            assert histogram["bins"] == list(range(-127, 26))
            assert counts[0] == parameter["zeros"] + parameter["subnormals"]
            np.testing.assert_array_equal(counts[1:-1], parameter["bins"][:150])
            assert sum(counts) == parameter["elements"]
        assert {key for key in row if key.startswith("gradients/")} == names


def _others(row: dict[str, Any]) -> list[str]:
    """Return the keys of a row that metrics.csv does not have (it has gradient_norm/…, too)."""
    return [key for key in row if not key.startswith("gradient_norm")]


def _without_nothing(config: dict[str, Any]) -> dict[str, Any]:
    """Drop empty mappings, such as `callbacks: {}`, which W&B cannot store."""
    kept = {k: _without_nothing(v) if isinstance(v, dict) else v for k, v in config.items()}
    return {key: value for key, value in kept.items() if value != {}}


def _as_text(row: dict[str, Any]) -> dict[str, str]:
    """Drop W&B's own keys, and make NaN equal to NaN."""
    return {k: repr(float(v)) for k, v in row.items() if not k.startswith("_")}


def _number(value: Any) -> Any:
    """Parse numbers that JSON lacks, which W&B writes as text."""
    return float(value) if value in ("NaN", "Infinity", "-Infinity") else value
