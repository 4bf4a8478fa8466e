"""A run that has ended goes on with more steps, as the run that had them from the start."""

from pathlib import Path

import pytest
from clocks import Clock
from records import assert_identical, assert_same_run, checkpoint, crash, rows_of, status_of
from small_project import Fit, fit

from gradflow.errors import ConfigError
from gradflow.gradients.record import read_gradients

RUN = ["activation=rrelu", "steps=14"]  # an epoch has 6 batches, and validation comes after every 4
END_AT_7 = ["+callbacks.end._target_=ending.EndAt", "+callbacks.end.step=7"]
TIMER = "+callbacks.timer={_target_: lightning.pytorch.callbacks.Timer, duration: {minutes: %s}}"
STOPPING = "{_target_: lightning.pytorch.callbacks.EarlyStopping, monitor: validation/distance, "
IMPATIENT = f"+callbacks.early={STOPPING} mode: max, patience: %s}}"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    fit(folder, *RUN)
    return folder


@pytest.mark.parametrize("steps", [3, 4, 6, 7, 12, 13])
def test_a_finished_run_goes_on_with_more_steps(tmp_path: Path, whole: Path, steps: int) -> None:
    fit(tmp_path, *RUN, f"steps={steps}")
    fit(tmp_path, *RUN)
    status = status_of(tmp_path)
    assert (status.state, status.steps, status.resumed) == ("finished", 14, 1)
    rows, expected = rows_of(tmp_path), rows_of(whole)
    if steps == 3:  # validation was made at the end, for validate_every is larger
        rows = [row for row in rows if row["step"] != "2" or row["train/loss"]]
        (tmp_path / "metrics.csv").write_text((whole / "metrics.csv").read_text())
    assert rows == expected
    assert_same_run(tmp_path, whole)


def test_fewer_steps_are_another_run(tmp_path: Path) -> None:
    fit(tmp_path, *RUN, "steps=8")
    with pytest.raises(ConfigError, match="holds a run with steps=8, not 7; choose another"):
        fit(tmp_path, *RUN, "steps=7")
    with pytest.raises(ConfigError, match=r"holds a run with lr=0\.01, not 0\.02; choose another"):
        fit(tmp_path, *RUN, "steps=20", "lr=0.02")
    assert status_of(tmp_path).steps == 8


def test_a_run_that_a_callback_has_ended_goes_on_without_it(tmp_path: Path, whole: Path) -> None:
    fit(tmp_path, *RUN, *END_AT_7)
    assert (status_of(tmp_path).state, status_of(tmp_path).steps) == ("finished", 7)
    before = (tmp_path / "status.json").read_bytes()
    fit(tmp_path, *RUN, *END_AT_7)  # the same words: it is finished
    assert (tmp_path / "status.json").read_bytes() == before

    fit(tmp_path, *RUN)
    for part in ("state_dict", "optimizer_states", "loops"):
        assert_identical(checkpoint(tmp_path)[part], checkpoint(whole)[part])
    assert read_gradients(tmp_path).equals(read_gradients(whole))
    assert status_of(tmp_path).metrics == status_of(whole).metrics
    # The validation at its first end stays.
    extra = [row for row in rows_of(tmp_path) if row not in rows_of(whole)]
    assert [(row["step"], row["train/loss"]) for row in extra] == [("6", "")]


@pytest.mark.parametrize(
    ("ends", "goes_on"),
    [
        ([TIMER % 7], [TIMER % 99]),
        ([TIMER % 7], []),
        ([IMPATIENT % 2], [IMPATIENT % 9]),  # the distance falls: each validation is worse
    ],
)
def test_a_timer_or_early_stopping_can_be_given_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: list[str], goes_on: list[str]
) -> None:
    monkeypatch.setattr("lightning.pytorch.callbacks.timer.time", Clock(60.0))
    fit(tmp_path, *RUN, *ends)
    assert 0 < status_of(tmp_path).steps < 14
    fit(tmp_path, *RUN, *goes_on)
    assert (status_of(tmp_path).state, status_of(tmp_path).steps) == ("finished", 14)


def test_other_callbacks_are_another_run_unless_one_has_ended_training(tmp_path: Path) -> None:
    fit(tmp_path, *RUN)
    with pytest.raises(ConfigError, match=r"callbacks\.timer\._target_; choose another"):
        fit(tmp_path, *RUN, TIMER % 9)


def test_a_run_that_a_callback_has_ended_trains_no_further_after_a_crash_in_the_test(
    tmp_path: Path,
) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    fit(whole, *RUN, *END_AT_7)
    with crash(Fit, "test_step", 7):
        fit(cut, *RUN, *END_AT_7)
    fit(cut, *RUN, *END_AT_7)
    assert status_of(cut).steps == 7
    assert_same_run(cut, whole)
