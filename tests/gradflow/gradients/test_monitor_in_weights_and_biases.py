"""What reaches Weights & Biases: an offline run, read back by W&B's own program."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
import wandb
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import WandbLogger
from records import wandb_records
from tiny_run import TinyCNN, fit, rows, watch
from torch import nn

from gradflow.gradients.histogram import measure
from gradflow.gradients.monitor import HISTOGRAMS, GradientMonitor
from gradflow.gradients.record import read_gradients
from gradflow.gradients.weights_and_biases import histogram

NAMES = [name for name, _ in TinyCNN().named_parameters()]


def records(folder: Path) -> list[dict[str, Any]]:
    """The rows of gradient records; the picture of the whole run is another one."""
    return [row for row in history(folder) if any(key.startswith("gradients/") for key in row)]


class ThreeLayers(TinyCNN):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            *(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.Sigmoid()),
            *(nn.Flatten(), nn.Linear(64, 10)),
        )


@pytest.fixture
def logger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WandbLogger]:
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "wandb_data"))
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path / "wandb_cache"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "wandb_config"))
    yield WandbLogger(save_dir=tmp_path, project="test", offline=True)
    wandb.finish()


def log_file(folder: Path) -> Path:
    (path,) = (folder / "wandb").glob("offline-run-*/run-*.wandb")
    return path


def inspected(folder: Path, kind: str) -> list[dict[str, Any]]:
    """The records of a kind that were logged, as `wandb leet inspect` prints them."""
    return [record[kind] for record in wandb_records(folder) if record["type"] == kind]


def history(folder: Path) -> list[dict[str, Any]]:
    return [record["item"] for record in inspected(folder, "history")]


def test_each_record_is_one_log_call_that_holds_what_the_run_folder_holds(
    tmp_path: Path, logger: WandbLogger
) -> None:
    fit(tmp_path, every_n_steps=5, logger=logger, log_every_n_steps=100)
    wandb.finish()
    logged = records(tmp_path)
    assert [row["trainer/global_step"] for row in logged] == [0, 5, 10, 11]
    gradients = read_gradients(tmp_path).filter(pl.col("kind") == "gradient")
    record = gradients.rows_by_key(["step", "name"], named=True, unique=True)
    for row in logged:
        for name in NAMES:
            recorded = record[row["trainer/global_step"], name]
            values = row[f"gradients/{name}.values"]
            assert row[f"gradients/{name}._type"] == "histogram"
            assert row[f"gradients/{name}.bins"] == list(range(-127, 26))
            assert values[0] == recorded["zeros"] + recorded["subnormals"]
            np.testing.assert_array_equal(values[1:-1], recorded["bins"][:150])
            assert sum(values) == recorded["elements"]
        keys = [key for key in row if key.startswith("gradients/")]
        assert len(keys) == 3 * len(NAMES)  # _type, bins and values


FIGURES = {
    *("first_over_last", "decades_per_layer", "zeros", "non_finite"),
    *("dead_units", "saturated_units", "update_to_weight"),
}


def test_the_figures_of_a_record_are_those_of_its_flow(tmp_path: Path, logger: WandbLogger) -> None:
    flows = watch(tmp_path, ThreeLayers(), 5, logger=logger, max_steps=12).flows
    wandb.finish()
    for row, flow in zip(records(tmp_path), flows, strict=True):
        found = {key: value for key, value in row.items() if key.startswith("gradient_flow/")}
        wanted = {
            "first_over_last": flow.gradient[0] - flow.gradient[1],
            "decades_per_layer": flow.gradient[0] - flow.gradient[1],  # two layers: one step
            "zeros": flow.zeros,
            "non_finite": 0,
            "dead_units": flow.dead[:2].max(),
            "saturated_units": flow.saturated[:2].max(),
            "update_to_weight": np.median(flow.update_to_weight),
        }
        assert wanted.keys() == FIGURES
        assert found == pytest.approx({f"gradient_flow/{k}": v for k, v in wanted.items()})


def test_figures_that_are_no_numbers_are_left_out(tmp_path: Path, logger: WandbLogger) -> None:
    """The last weights begin at 0: nothing reaches the layers before, or moves their weights."""
    module = ThreeLayers()
    with torch.no_grad():
        module.net[-1].weight.zero_()
    watch(tmp_path, module, logger=logger, max_steps=1)
    wandb.finish()
    (row,) = records(tmp_path)
    found = {key.removeprefix("gradient_flow/") for key in row if key.startswith("gradient_flow/")}
    assert found == FIGURES - {"first_over_last", "decades_per_layer", "update_to_weight"}


def test_histograms_on_request_are_those_of_the_record(tmp_path: Path, logger: WandbLogger) -> None:
    watch(tmp_path, ThreeLayers(), histograms=HISTOGRAMS, logger=logger, max_steps=1)
    wandb.finish()
    (row,) = records(tmp_path)
    keys = {key.removesuffix(".values") for key in row if key.endswith(".values")}
    layers, names = ["net.1", "net.3"], [name for name, _ in ThreeLayers().named_parameters()]
    assert keys == {
        *(f"{folder}/{name}" for folder in ("gradients", "weights") for name in names),
        *(f"pre_activations/{name}" for name in (*layers, "net.5")),
        *(f"activations/{name}" for name in layers),
    }
    for folder in ("weight", "pre_activation", "activation"):
        for recorded in rows(tmp_path, folder).iter_rows(named=True):
            values = row[f"{folder}s/{recorded['name']}.values"]
            np.testing.assert_array_equal(values[1:-1], recorded["bins"][:150])
            assert sum(values) == recorded["elements"]


def test_the_summary_has_the_verdict_and_figures_and_no_histogram(
    tmp_path: Path, logger: WandbLogger
) -> None:
    monitored = GradientMonitor(5, on_error="raise")
    fit(tmp_path, every_n_steps=None, callbacks=(monitored,), logger=logger, log_every_n_steps=100)
    wandb.finish()
    summary: dict[str, Any] = {}
    for written in inspected(tmp_path, "summary"):
        summary |= written["update"]
    assert monitored.verdict is not None
    assert summary["verdict"] == monitored.verdict.kind
    assert summary["verdict_evidence"] == monitored.verdict.evidence
    assert "gradient_flow/zeros" in summary
    assert not [key for key in summary if key.startswith("gradients/")]


def test_a_verdict_that_turns_bad_is_an_alert_and_the_picture_is_logged_at_the_end(
    tmp_path: Path, logger: WandbLogger
) -> None:
    class Frozen(TinyCNN):
        def __init__(self) -> None:
            super().__init__()
            layers: list[nn.Module] = [nn.Flatten(), nn.Linear(192, 8)]
            for _ in range(4):
                layers += [nn.Tanh(), nn.Linear(8, 8, bias=False)]
            self.net = nn.Sequential(*layers, nn.Tanh(), nn.Linear(8, 10))
            for layer in self.net[3::2]:
                nn.init.normal_(layer.weight, std=1e-3)

    monitor = GradientMonitor(5, remedies={"frozen": ["init=larger"]}, on_error="raise")
    fit(tmp_path, Frozen(), None, callbacks=(monitor,), logger=logger, log_every_n_steps=100)
    wandb.finish()
    (alert,) = inspected(tmp_path, "alert")
    assert alert["title"] == "frozen"
    assert "Try: init=larger" in alert["text"]
    assert list(
        (tmp_path / "wandb").glob("offline-run-*/files/media/images/gradient_flow_map_*.png")
    )


def tables(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """The rows of each table that was logged, by its key: as files, beside the log."""
    files = list((folder / "wandb").glob("offline-run-*/files/media/table/*.json"))
    found = {}
    for path in files:
        table = json.loads(path.read_text())
        rows_of = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
        found[path.name.rsplit("_", 2)[0]] = rows_of
    assert len(found) == len(files)
    return found


def test_the_charts_are_logged_once_in_one_call_and_hold_what_the_run_folder_holds(
    tmp_path: Path, logger: WandbLogger
) -> None:
    flows = watch(tmp_path, ThreeLayers(), 5, logger=logger, max_steps=12).flows
    wandb.finish()
    (row,) = [row for row in history(tmp_path) if "gradient_profile_table._type" in row]
    assert row["gradient_histogram_table._type"] == "table-file"
    assert row["trainer/global_step"] == 11
    found = tables(tmp_path)
    assert found.keys() == {"gradient_profile_table", "gradient_histogram_table"}
    for record, flow in (("start", flows[0]), ("end", flows[-1])):
        profile = [row for row in found["gradient_profile_table"] if row["record"] == record]
        assert {row["step"] for row in profile} == {flow.step}
        assert [row["name"] for row in profile] == flow.layers == ["net.1", "net.3", "net.5"]
        assert [row["log10_gradient"] for row in profile] == pytest.approx(list(flow.gradient))
        z = [row["log10_pre_activation"] for row in profile]
        assert z == pytest.approx(list(flow.pre_activation))
        recorded = pl.read_parquet(tmp_path / "gradients.parquet").filter(
            pl.col("step") == flow.step, pl.col("kind") == "gradient"
        )
        table = [row for row in found["gradient_histogram_table"] if row["record"] == record]
        for place, name in (("first", "net.0"), ("middle", "net.2"), ("last", "net.5")):
            parameter = recorded.row(by_predicate=pl.col("name") == f"{name}.weight", named=True)
            counts = np.array([row[place] for row in table]) * parameter["elements"]
            np.testing.assert_allclose(counts[1:-1], parameter["bins"][:150])
            assert counts[0] == parameter["zeros"] + parameter["subnormals"]
            assert counts.sum() == pytest.approx(parameter["elements"])


def test_the_start_of_a_resumed_run_is_the_first_record_of_all(
    tmp_path: Path, logger: WandbLogger
) -> None:
    saving = ModelCheckpoint(tmp_path, filename="half")
    fit(tmp_path, every_n_steps=5, callbacks=(saving,), enable_checkpointing=True, max_steps=6)
    fit(tmp_path, every_n_steps=5, resume=tmp_path / "half.ckpt", logger=logger)
    wandb.finish()
    found = tables(tmp_path)
    assert len(found) == 2
    for rows_of in found.values():
        assert {(row["record"], row["step"]) for row in rows_of} == {("start", 0), ("end", 11)}


def test_a_table_is_one_key_of_the_summary(tmp_path: Path, logger: WandbLogger) -> None:
    watch(tmp_path, ThreeLayers(), 5, logger=logger, max_steps=12)
    wandb.finish()
    keys = {key for written in inspected(tmp_path, "summary") for key in written["update"]}
    of_tables = {key.split(".")[0] for key in keys if "table" in key}
    assert of_tables == {"gradient_profile_table", "gradient_histogram_table"}


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
    for step in range(20):
        logger.log_metrics(values, step=step)
    wandb.finish()
    assert log_file(tmp_path).stat().st_size / 20 < 100_000
