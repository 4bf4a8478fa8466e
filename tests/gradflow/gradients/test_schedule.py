"""Which steps are recorded, and what becomes of the last one when a run goes on."""

from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from tiny_run import BatchOfTheStep, checkpoint_each_epoch, watch

from gradflow.gradients.record import read_gradients
from gradflow.gradients.schedule import is_scheduled

STEPS = [step for step in range(100_001) if is_scheduled(step)]


def recorded(folder: Path) -> list[int]:
    return read_gradients(folder)["step"].unique().sort().to_list()


def finals(folder: Path) -> list[int]:
    return read_gradients(folder).filter(kind="final")["step"].to_list()


def test_every_step_is_recorded_at_first() -> None:
    assert STEPS[:12] == list(range(12))


@pytest.mark.parametrize("ten", [10, 100, 1000, 10_000])
def test_each_factor_of_ten_in_steps_has_twenty_records(ten: int) -> None:
    assert sum(ten < step <= 10 * ten for step in STEPS) == 20


def test_powers_of_ten_are_recorded() -> None:
    assert {1, 10, 100, 1000, 10_000, 100_000} <= set(STEPS)


def test_the_gaps_never_get_smaller_than_9_nor_larger_than_15_percent_of_the_step() -> None:
    late = [step for step in STEPS if step >= 20]
    assert all(0.09 < (after - step) / step < 0.15 for step, after in pairwise(late))


def test_a_given_number_of_steps_replaces_the_schedule() -> None:
    assert [step for step in range(20) if is_scheduled(step, 7)] == [0, 7, 14]


def test_the_monitor_records_the_schedule_and_marks_a_last_step_outside_of_it(
    tmp_path: Path,
) -> None:
    monitor = watch(tmp_path, every_n_steps=None, max_steps=18)
    assert recorded(tmp_path) == [*range(12), 13, 14, 16, 17]
    assert finals(tmp_path) == [17]
    assert [flow.step for flow in monitor.flows] == recorded(tmp_path)


def test_a_last_step_that_is_scheduled_is_not_marked(tmp_path: Path) -> None:
    watch(tmp_path, every_n_steps=None, max_steps=17)
    assert (recorded(tmp_path)[-1], finals(tmp_path)) == (16, [])


@pytest.mark.parametrize("every_n_steps", [None, 5])
def test_a_continued_run_has_the_record_of_an_uninterrupted_one(
    tmp_path: Path, every_n_steps: int | None
) -> None:
    """Its first part ends at step 17, in neither schedule, so that this record has to go."""
    options = {"every_n_steps": every_n_steps, "enable_checkpointing": True}
    parts, whole = tmp_path / "parts", tmp_path / "whole"
    saver = checkpoint_each_epoch(tmp_path)
    watch(parts, BatchOfTheStep(), max_steps=18, callbacks=(saver,), **options)
    assert finals(parts) == [17]
    last = tmp_path / "last.ckpt"
    continued = watch(parts, BatchOfTheStep(), max_steps=24, resume=last, **options)
    straight = watch(whole, BatchOfTheStep(), max_steps=24, **options)
    assert finals(parts) == finals(whole) == [23]
    assert_frame_equal(read_gradients(parts), read_gradients(whole))
    assert [f.step for f in continued.flows] == [f.step for f in straight.flows]
    step, count = (20, 5) if every_n_steps else (18, 2)  # with those before the continuation
    means = read_gradients(parts).filter(kind="mean_loss", step=step)
    assert means["elements"].to_list() == [count]
    assert pl.Series(recorded(parts)).is_sorted()
