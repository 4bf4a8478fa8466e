"""Reading what a run left behind, and stopping one in the middle."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule

from gradflow.gradients.record import read_gradients
from gradflow.runs.status import Status


def checkpoint(folder: Path, name: str = "last") -> dict[str, Any]:
    """Return a checkpoint of a run."""
    path = folder / f"checkpoints/{name}.ckpt"
    loaded: dict[str, Any] = torch.load(path, weights_only=True)
    return loaded


def same_weights(one: Path, other: Path) -> bool:
    """Return whether two runs ended with the same weights, bit for bit."""
    a, b = checkpoint(one)["state_dict"], checkpoint(other)["state_dict"]
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def rows_of(folder: Path) -> list[dict[str, str]]:
    """Return the rows of metrics.csv as text."""
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def status_of(folder: Path) -> Status:
    """Return the status of a run that has one."""
    status = Status.read(folder)
    assert status is not None
    return status


def wandb_records(files: Path) -> list[dict[str, Any]]:
    """Return the records of the one offline run below `files`, as W&B's own program prints them."""
    (file,) = (files / "wandb").glob("offline-run-*/run-*.wandb")
    printed = subprocess.run(
        [str(Path(sys.executable).with_name("wandb")), "leet", "inspect", "--json", str(file)],
        capture_output=True,
        text=True,
        check=True,
    )
    return [json.loads(line) for line in printed.stdout.splitlines()]


def assert_identical(actual: Any, expected: Any) -> None:
    """Compare nested containers of tensors and numbers, bit for bit."""
    if isinstance(expected, torch.Tensor):
        assert torch.equal(actual, expected)
    elif isinstance(expected, dict):
        assert actual.keys() == expected.keys()
        for key, value in expected.items():
            assert_identical(actual[key], value)
    elif isinstance(expected, list):
        assert len(actual) == len(expected)
        for one, other in zip(actual, expected, strict=True):
            assert_identical(one, other)
    else:
        assert actual == expected


def assert_same_run(one: Path, other: Path) -> None:
    """Compare all that two finished runs left behind, bit for bit."""
    a, b = checkpoint(one), checkpoint(other)
    for part in ("state_dict", "optimizer_states", "lr_schedulers", "loops"):
        assert_identical(a[part], b[part])
    for name in ("metrics.csv", "verdict.json"):
        assert (one / name).read_text() == (other / name).read_text()
    assert read_gradients(one).equals(read_gradients(other))
    assert status_of(one).metrics == status_of(other).metrics
    assert status_of(one).steps == status_of(other).steps


@contextmanager
def crash(task: type[LightningModule], where: str, step: int, batch: int = 0) -> Iterator[None]:
    """Expect the block to be ended by the task's method `where`, in batch `batch` of `step`.

    The trainer of the test split counts no steps: `test_step` ends it at once.
    """
    original = getattr(task, where)

    def crashing(self: LightningModule, *args: Any) -> Any:
        of_step = self.trainer.fit_loop.total_batch_idx % self.trainer.accumulate_grad_batches
        if where == "test_step" or (self.global_step, of_step) == (step, batch):
            raise ArithmeticError("crash")
        return original(self, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(task, where, crashing)
        with pytest.raises(ArithmeticError):
            yield
