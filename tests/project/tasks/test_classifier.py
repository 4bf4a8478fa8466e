"""What the Classifier logs and when, how it counts steps, and what it does where a run diverges."""

import math
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
import torch.nn.functional as F
from records import checkpoint, crash, rows_of, same_weights, status_of
from small_run import REPOSITORY, SMALL

from gradflow.gradients.record import read_gradients
from gradflow.launch.compose import compose
from project.build import build_data, build_task
from project.tasks.classifier import Classifier
from project.train import train


def fit(folder: Path, *words: str) -> dict[str, float]:
    return train(compose([*SMALL, *words], REPOSITORY / "conf"), folder)


def test_loss_and_accuracy_of_every_split_are_logged(tmp_path: Path) -> None:
    splits = ("train", "validation", "test")
    named = {f"{split}/{what}" for split in splits for what in ("loss", "accuracy")}
    assert named <= fit(tmp_path).keys()


def test_accumulating_two_batches_is_one_batch_of_twice_the_size(tmp_path: Path) -> None:
    words = ["norm=none", "data.pad=0", "data.flip=false", "steps=2", "precision=64-true"]
    fit(tmp_path / "two", *words, "accumulate=2", "data.batch_size=10", "monitor.every_n_steps=1")
    fit(tmp_path / "one", *words, "data.batch_size=20", "monitor.every_n_steps=1")
    # Layers are recorded for the last of the accumulated batches only, so compare the gradients.
    two, one = (
        read_gradients(tmp_path / name).filter(pl.col("kind") == "gradient")
        for name in ("two", "one")
    )
    assert one["step"].unique().sort().to_list() == [0, 1]
    torch.testing.assert_close(two["norm"].to_torch(), one["norm"].to_torch(), rtol=1e-5, atol=0)
    torch.testing.assert_close(
        checkpoint(tmp_path / "two")["state_dict"],
        checkpoint(tmp_path / "one")["state_dict"],
        rtol=1e-5,
        atol=1e-7,
    )


def test_a_group_of_accumulated_batches_is_whole_wherever_an_epoch_ends(tmp_path: Path) -> None:
    """An epoch has 5 batches of 40 images, so that its last one would be a group by itself."""
    words = ["norm=none", "data.pad=0", "data.flip=false", "steps=7", "precision=64-true"]
    words += ["monitor.every_n_steps=1", "validate_every=2"]
    fit(tmp_path / "two", *words, "accumulate=2", "data.batch_size=40")
    fit(tmp_path / "one", *words, "data.batch_size=80")
    two, one = (
        read_gradients(tmp_path / name).filter(pl.col("kind") == "gradient")
        for name in ("two", "one")
    )
    assert one["step"].unique().sort().to_list() == list(range(7))
    torch.testing.assert_close(two["norm"].to_torch(), one["norm"].to_torch(), rtol=1e-5, atol=0)
    for name in ("two", "one"):
        validated = [row for row in rows_of(tmp_path / name) if row["validation/loss"]]
        assert [int(row["step"]) for row in validated] == [1, 3, 5, 7]
        logged = [row for row in rows_of(tmp_path / name) if row["train/loss"]]
        assert [int(row["step"]) for row in logged] == [3, 6]  # counted from 0


@pytest.mark.slow
def test_a_run_cut_off_inside_a_group_resumes_to_the_same_weights(tmp_path: Path) -> None:
    words = ["accumulate=2", "data.batch_size=40", "validate_every=3"]
    fit(tmp_path / "whole", *words)
    with crash(Classifier, "training_step", 5, batch=1):  # the second batch of step 5
        fit(tmp_path / "cut", *words)
    assert checkpoint(tmp_path / "cut")["global_step"] == 3
    fit(tmp_path / "cut", *words)
    assert same_weights(tmp_path / "cut", tmp_path / "whole")
    assert rows_of(tmp_path / "cut") == rows_of(tmp_path / "whole")


def test_the_steps_after_the_last_full_window_are_logged_too(tmp_path: Path) -> None:
    fit(tmp_path, "steps=10", "log_every=4")
    logged = [row for row in rows_of(tmp_path) if row["train/loss"]]
    assert [int(row["step"]) for row in logged] == [3, 7, 9]
    assert all(row["gradient_norm/total_before_clipping"] for row in logged)


def test_a_divergence_after_the_last_full_window_is_seen(tmp_path: Path) -> None:
    calls, original = [0], Classifier.loss

    def nan_at_the_tenth_step(*args: Any) -> torch.Tensor:
        calls[0] += 1
        return original(*args) * (math.nan if calls[0] == 10 else 1)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Classifier, "loss", nan_at_the_tenth_step)
        fit(
            tmp_path, "steps=10", "log_every=4", "data.validation=0", "test=false", "dry_step=false"
        )
    status = status_of(tmp_path)
    assert status.diverged_at == 10
    assert not math.isfinite(status.metrics["train/loss"])


def test_a_run_that_a_callback_ends_early_logs_its_last_steps(tmp_path: Path) -> None:
    early = "+callbacks.early={_target_: ending.EndAt, step: 6}"
    fit(tmp_path, "steps=20", "log_every=4", early)
    logged = [row for row in rows_of(tmp_path) if row["train/loss"]]
    assert [int(row["step"]) for row in logged] == [3, 5]


def test_the_norm_before_clipping_is_that_of_the_gradients_and_after_it_the_threshold(
    tmp_path: Path,
) -> None:
    fit(tmp_path, "clip=norm", "clip.max_norm=0.01", "monitor.every_n_steps=1")
    record = read_gradients(tmp_path).filter(pl.col("kind") == "gradient")
    squares = record.group_by("step").agg(pl.col("norm").pow(2).sum())
    expected = {step: math.sqrt(total) for step, total in squares.iter_rows()}
    logged = [row for row in rows_of(tmp_path) if row["train/loss"]]
    assert len(logged) == 2
    for row in logged:
        before, after = (
            float(row[f"gradient_norm/total_{when}_clipping"]) for when in ("before", "after")
        )
        assert before == pytest.approx(expected[int(row["step"])], rel=1e-5)
        assert before > 0.1
        assert after == pytest.approx(0.01, rel=1e-4)


def test_a_diverged_run_is_a_result(tmp_path: Path) -> None:
    metrics = fit(tmp_path, "lr=1e6", "norm=none", "steps=40")
    status = status_of(tmp_path)
    assert (status.state, status.error) == ("finished", None)
    assert status.diverged_at is not None
    assert status.diverged_at == status.steps < 40
    assert math.isnan(metrics["train/loss"]) or math.isinf(metrics["train/loss"])


def test_a_diverged_run_stays_so_when_it_is_resumed(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    words = ["lr=1e6", "norm=none", "steps=40", "dry_step=false"]
    metrics = fit(whole, *words)
    with crash(Classifier, "test_step", 4):
        fit(cut, *words)
    assert checkpoint(cut)["global_step"] == 4
    assert fit(cut, *words) == pytest.approx(metrics, rel=0, abs=0, nan_ok=True)
    assert rows_of(cut) == rows_of(whole)
    assert status_of(cut).diverged_at == status_of(whole).diverged_at == 4


def test_the_loss_of_a_split_is_a_mean_over_images_whatever_the_size_of_its_last_batch(
    tmp_path: Path,
) -> None:
    """50 images for the test, in batches of 16, 16, 16 and 2."""
    words = ["steps=2", "norm=none", "data.pad=0", "data.flip=false"]
    fit(tmp_path, *words, "data.batch_size=16")
    config = compose([*SMALL, *words, "data.batch_size=16"], REPOSITORY / "conf")
    weights = checkpoint(tmp_path)["state_dict"]
    logged = status_of(tmp_path).metrics["test/loss"]
    data = build_data(config)
    task = build_task(config, data)
    task.load_state_dict(weights)
    test = data.load().test
    batches = list(data.test_dataloader())
    with torch.no_grad():
        logits = torch.cat([task.net(images) for images, _ in batches])
    assert len(logits) == len(test.labels) == 50
    assert logged == pytest.approx(F.cross_entropy(logits, test.labels).item(), rel=1e-5)
