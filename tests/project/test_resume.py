"""A run killed with -9 and started again is, bit for bit, the run that nobody interrupted."""

import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from small_run import SMALL, run

from gradflow.gradients.record import read_gradients
from gradflow.runs.status import Status

# An epoch has 12 batches: checkpoints fall inside epochs and on their ends, and, with a window of
# four steps, inside windows and on their ends. RReLU, augmentation and momentum hold state.
RUN = [
    *SMALL,
    "steps=48",
    "validate_every=6",
    "activation=rrelu",
    "scheduler=one_cycle",
]
DYING = "tests/project/helpers/dying_run.py"


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("uninterrupted")
    done = run(folder, "never", "0", *RUN, f"hydra.run.dir={folder}", program=DYING)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize(
    ("when", "step", "checkpoint"),
    [
        ("step", 22, 18),  # resumes within an epoch and within a window
        ("validation", 30, 24),  # resumes at the end of an epoch; the row of step 30 is written
    ],
)
def test_a_killed_run_continues_bit_for_bit(
    tmp_path: Path, uninterrupted: Path, when: str, step: int, checkpoint: int
) -> None:
    folder = tmp_path / "run"
    words = [*RUN, f"hydra.run.dir={folder}"]
    killed = run(tmp_path, when, str(step), *words, program=DYING)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert load(folder)["global_step"] == checkpoint
    resumed = run(tmp_path, *words)
    assert resumed.returncode == 0, resumed.stderr

    status = Status.read(folder)
    assert status is not None
    assert (status.state, status.resumed, status.steps) == ("finished", 1, 48)
    expected, actual = load(uninterrupted), load(folder)
    for part in ("state_dict", "optimizer_states", "lr_schedulers"):
        assert_identical(actual[part], expected[part])
    assert (folder / "metrics.csv").read_text() == (uninterrupted / "metrics.csv").read_text()
    assert read_gradients(folder).equals(read_gradients(uninterrupted))
    best = "checkpoints/best.ckpt"
    assert_identical(load(folder, best)["state_dict"], load(uninterrupted, best)["state_dict"])


def load(folder: Path, name: str = "checkpoints/last.ckpt") -> dict[str, Any]:
    checkpoint: dict[str, Any] = torch.load(folder / name, weights_only=True)
    return checkpoint


def assert_identical(actual: Any, expected: Any) -> None:
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
