"""A run killed with -9 and started again is, bit for bit, the run that nobody interrupted."""

import signal
from pathlib import Path

import pytest
from processes import DYING, SMALL_TRAIN, run
from records import assert_identical, checkpoint, status_of
from small_project import fit

from gradflow.gradients.record import read_gradients

# An epoch has 6 batches: checkpoints fall inside epochs and on their ends. RReLU and momentum hold
# state.
RUN = ["steps=30", "batches=6", "validate_every=4", "activation=rrelu"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("when", "step", "saved"),
    [
        ("step", 15, 12),  # resumes at the end of an epoch
        ("validation", 20, 16),  # resumes within an epoch
    ],
)
def test_a_killed_run_continues_bit_for_bit(
    tmp_path: Path, when: str, step: int, saved: int
) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    dying = [DYING, SMALL_TRAIN, "small_project.Fit", when, str(step)]
    killed = run(tmp_path, *dying, *RUN, f"hydra.run.dir={cut}")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert checkpoint(cut)["global_step"] == saved
    assert fit(cut, *RUN) == fit(whole, *RUN)

    status = status_of(cut)
    assert (status.state, status.resumed, status.steps) == ("finished", 1, 30)
    expected, actual = checkpoint(whole), checkpoint(cut)
    for part in ("state_dict", "optimizer_states", "lr_schedulers", "loops"):
        assert_identical(actual[part], expected[part])
    assert (cut / "metrics.csv").read_text() == (whole / "metrics.csv").read_text()
    assert read_gradients(cut).equals(read_gradients(whole))
    assert_identical(checkpoint(cut, "best")["state_dict"], checkpoint(whole, "best")["state_dict"])
