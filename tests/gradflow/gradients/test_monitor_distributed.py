"""Two processes of one training: whose gradients and layers the record shows."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch.nn.functional as F
from ddp_run import PROCESSES, images
from hand_passes import rms
from tiny_run import BATCH, Smooth, rows

from gradflow.gradients.flow import read_flows
from gradflow.gradients.histogram import measure
from gradflow.gradients.record import read_gradients

pytestmark = [pytest.mark.distributed, pytest.mark.slow]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("ddp")
    program = Path(__file__).parents[1] / "helpers" / "ddp_run.py"
    finished = subprocess.run(
        [sys.executable, str(program), str(made)],
        capture_output=True,
        text=True,
        timeout=200,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert finished.returncode == 0, finished.stderr
    return made


def test_every_processes_share_is_in_the_histogram(folder: Path) -> None:
    pixels, labels = (x[: PROCESSES * BATCH] for x in images())
    twin = Smooth().double()
    F.cross_entropy(twin.net(pixels.double()), labels).backward()
    gradients = [p.grad for p in twin.parameters() if p.grad is not None]
    recorded, wanted = rows(folder, "gradient"), measure(gradients)
    assert recorded["elements"].to_list() == wanted.elements.tolist()
    for column in ("norm", "rms", "max"):
        np.testing.assert_allclose(recorded[column], getattr(wanted, column), rtol=1e-5)
    # Float32 may carry an element over the edge of a bin.
    moved = np.abs(recorded["bins"].to_numpy() - wanted.bins).sum()
    assert moved <= 0.01 * wanted.elements.sum()


def test_layers_and_loss_are_those_of_the_first_process(folder: Path) -> None:
    pixels, labels = (x[: PROCESSES * BATCH : PROCESSES] for x in images())
    twin = Smooth().double()
    z = twin.net[0](pixels.double())
    logits = twin.net[3](z.tanh().flatten(1))
    loss = F.cross_entropy(logits, labels)
    z.retain_grad()
    logits.retain_grad()
    loss.backward()
    np.testing.assert_allclose(rows(folder, "pre_activation")["rms"], [rms(z), rms(logits)], 1e-5)
    assert z.grad is not None
    assert logits.grad is not None
    recorded = rows(folder, "pre_activation_gradient")["rms"]
    np.testing.assert_allclose(recorded, [rms(z.grad), rms(logits.grad)], 1e-5)
    np.testing.assert_allclose(rows(folder, "loss")["max"], [loss.item()], 1e-5)


def test_one_process_writes_each_step_once(folder: Path) -> None:
    record = read_gradients(folder)
    assert [flow.step for flow in read_flows(record)] == [0, 1, 2]
    assert not record.select("step", "kind", "name").is_duplicated().any()
