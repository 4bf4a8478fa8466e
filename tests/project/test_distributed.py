"""Data-parallel runs of two processes on the CPU, alone and in a multirun."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from small_run import DYING, SMALL, run

from gradflow.gradients.record import read_gradients

pytestmark = [pytest.mark.distributed, pytest.mark.slow]
# Without batch statistics and random crops, two shares of a batch are one batch.
EXACT = [*SMALL, "norm=none", "data.pad=0", "data.flip=false", "monitor.every_n_steps=1"]
HELPERS = Path(__file__).parent / "helpers"
DDP = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"]


def status(folder: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((folder / "status.json").read_text())
    return values


def assert_same_gradients(one: Path, other: Path) -> None:
    # Layers are those of the first process' share of the batch.
    wanted = (pl.col("step") == 0) & (pl.col("kind") == "gradient")
    a, b = (read_gradients(folder).filter(wanted).sort("index") for folder in (one, other))
    assert a["name"].to_list() == b["name"].to_list()
    assert len(a) > 0
    torch.testing.assert_close(a["norm"].to_torch(), b["norm"].to_torch(), rtol=1e-5, atol=0)


def test_two_processes_have_the_gradient_of_one_with_the_doubled_batch(tmp_path: Path) -> None:
    study, single = tmp_path / "study", tmp_path / "single"
    parallel = run(
        tmp_path,
        "-m",
        *EXACT,
        *DDP,
        "seed=0,1",
        f"hydra.sweep.dir={study}",
        "hydra.sweep.subdir=seed_${seed}",
    )
    assert parallel.returncode == 0, parallel.stderr
    alone = run(tmp_path, *EXACT, "seed=1", f"hydra.run.dir={single}")
    assert alone.returncode == 0, alone.stderr
    jobs = sorted(path.parent for path in study.glob("*/status.json"))
    assert [job.name for job in jobs] == ["seed_0", "seed_1"]
    assert [status(job)["state"] for job in jobs] == ["finished", "finished"]
    assert_same_gradients(jobs[1], single)
    assert_same_curves(jobs[1], single)


def assert_same_curves(one: Path, other: Path) -> None:
    """Figures are those of all processes, not of the first."""
    a, b = (pl.read_csv(folder / "metrics.csv").drop_nulls("train/loss") for folder in (one, other))
    assert a["step"].to_list() == b["step"].to_list() == [3, 7]
    for name in ("train/loss", "train/accuracy"):
        torch.testing.assert_close(a[name].to_torch(), b[name].to_torch(), rtol=1e-4, atol=1e-5)
    assert status(one)["metrics"] == pytest.approx(status(other)["metrics"], rel=1e-4, abs=1e-5)


def test_a_loss_that_is_not_finite_in_one_process_ends_the_run_in_all(tmp_path: Path) -> None:
    (tmp_path / "unequal_nets.py").write_text((HELPERS / "unequal_nets.py").read_text())
    folder = tmp_path / "run"
    net = "model._target_=unequal_nets.NotFiniteOnRankOne"
    words = [*SMALL, *DDP, net, "init=default", "test=false"]
    done = run(tmp_path, *words, f"hydra.run.dir={folder}")
    assert done.returncode == 0, done.stderr
    assert status(folder)["state"] == "finished"
    assert status(folder)["diverged_at"] == 4


def test_a_data_parallel_run_resumes_in_all_its_processes(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    words = [*EXACT, *DDP]
    assert run(tmp_path, *words, f"hydra.run.dir={whole}").returncode == 0
    killed = run(tmp_path, *DYING, "step", "6", *words, f"hydra.run.dir={cut}")
    assert killed.returncode == -9, killed.stderr
    resumed = run(tmp_path, *words, f"hydra.run.dir={cut}")
    assert resumed.returncode == 0, resumed.stderr
    assert status(cut)["resumed"] == 1
    a, b = (
        torch.load(folder / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
        for folder in (whole, cut)
    )
    torch.testing.assert_close(a, b, rtol=0, atol=0)
    assert (whole / "metrics.csv").read_text() == (cut / "metrics.csv").read_text()
