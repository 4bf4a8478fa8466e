"""A run whose gradients are sick ends early; a healthy one does not."""

from pathlib import Path

import pytest
from records import rows_of, status_of
from small_project import fit

from gradflow.errors import ConfigError
from gradflow.training.stop_when_sick import StopWhenSick

STOP = "+callbacks.stop={_target_: gradflow.training.stop_when_sick.StopWhenSick, %s}"
DEAD = [
    "activation._target_=torch.nn.Threshold",
    "+activation.threshold=1e9",
    "+activation.value=0",
]
LONG = ["steps=60", "validate_every=50", "monitor.every_n_steps=2"]


def test_a_sick_run_ends_at_the_step_and_is_skipped_like_a_finished_one(tmp_path: Path) -> None:
    words = [*LONG, *DEAD, STOP % "step: 20, confidence: 0.5"]
    fit(tmp_path, *words)
    status = status_of(tmp_path)
    assert (status.state, status.steps, status.error) == ("stopped", 21, None)
    keys = {key for row in rows_of(tmp_path) for key, value in row.items() if value}
    assert "validation/loss" in keys  # Lightning's, where training ends
    assert "test/loss" not in keys
    before = (tmp_path / "status.json").read_bytes()
    fit(tmp_path, *words)
    assert (tmp_path / "status.json").read_bytes() == before


def test_a_stopped_run_goes_on_without_the_callback(tmp_path: Path) -> None:
    stopped, alone = tmp_path / "stopped", tmp_path / "alone"
    fit(stopped, *LONG, *DEAD, STOP % "confidence: 0.5")
    gone_on, whole = fit(stopped, *LONG, *DEAD), fit(alone, *LONG, *DEAD)
    assert gone_on == whole
    assert status_of(stopped).state == "finished"


@pytest.mark.parametrize("words", [[], [*DEAD]], ids=["healthy", "sick, but not that surely"])
def test_other_runs_come_to_their_end(tmp_path: Path, words: list[str]) -> None:
    fit(tmp_path, *LONG, *words, STOP % "confidence: 1.0")
    status = status_of(tmp_path)
    assert (status.state, status.steps) == ("finished", 60)


def test_a_run_without_a_verdict_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="StopWhenSick: needs a GradientMonitor"):
        fit(
            tmp_path,
            "monitor._target_=lightning.Callback",
            "~monitor.every_n_steps",
            STOP % "step: 1",
        )
    with pytest.raises(ValueError, match=r"confidence=2: must be between 0 and 1"):
        StopWhenSick(confidence=2)
    with pytest.raises(ValueError, match=r"step=-1: must be >= 0"):
        StopWhenSick(step=-1)
