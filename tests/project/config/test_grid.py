"""A random sample of the whole grid: any choices of the axes train together, or are refused."""

import json
import random
from pathlib import Path

import pytest
import shipped

from gradflow.errors import ConfigError
from gradflow.launch.compose import compose
from project.train import train

pytestmark = pytest.mark.slow

AXES = ("model", "activation", "norm", "init", "clip", "optimizer", "scheduler")
RUNS = 25
# A run small enough that its folder is most of the work.
SMALL = ["data=synthetic", "data.train_images=200", "data.test_images=100", "data.validation=100"]
SMALL += ["data.batch_size=20", "model.depth=8", "model.width=4", "steps=2", "log_every=1"]
SMALL += ["logger=none", "trainer=cpu", "test=false", "monitor.every_n_steps=1"]

Choices = dict[str, str]


def impossible(choices: Choices) -> bool:
    """Zero-initialized residual branches need a skip connection and a norm with a weight.

    Fixup needs a skip connection.
    """
    plain, normless = choices["model"] == "plain_cnn", choices["norm"] == "none"
    return (choices["init"] == "zero_residual" and (plain or normless)) or (
        choices["init"] == "fixup" and plain
    )


def names(axis: str) -> list[str]:
    """Return an axis' choices. Nets that take no activation or norm have tests of their own."""
    every = shipped.names(axis)
    return [it for it in every if axis != "model" or "depth" in shipped.read("model", it)]


def sample() -> list[Choices]:
    """The same `RUNS` combinations each time; every choice of every axis is among them."""
    draw = random.Random(0)
    columns = {}
    for axis in AXES:
        choices = names(axis)
        column = choices * (RUNS // len(choices) + 1)
        head, rest = column[: len(choices)], column[len(choices) :]
        column = head + draw.sample(rest, RUNS - len(choices))
        columns[axis] = draw.sample(column, RUNS)
    return [{axis: columns[axis][run] for axis in AXES} for run in range(RUNS)]


SAMPLE = sample()


@pytest.mark.parametrize("choices", SAMPLE, ids=["-".join(it.values()) for it in SAMPLE])
def test_trains_two_steps_or_is_refused_by_rule(
    choices: Choices, conf: Path, tmp_path: Path
) -> None:
    config = compose([*(f"{axis}={name}" for axis, name in choices.items()), *SMALL], conf)
    if impossible(choices):
        with pytest.raises(ConfigError, match=r"^init=(zero_residual|fixup): "):
            train(config, tmp_path)
        return
    metrics = train(config, tmp_path)
    status = json.loads((tmp_path / "status.json").read_text())
    assert (status["state"], status["steps"]) == ("finished", 2)
    assert status["metrics"] == metrics
    assert 0 <= metrics["train/accuracy"] <= 1
    assert 0 <= metrics["validation/accuracy"] <= 1
    assert "train/loss" in metrics  # a NaN is a result
    recorded = (tmp_path / "metrics.csv").read_text().splitlines()
    assert len(recorded) > 1
    assert (tmp_path / "gradients.parquet").exists()


def test_the_sample_has_every_choice_of_every_axis() -> None:
    for axis in AXES:
        assert {choices[axis] for choices in SAMPLE} == set(names(axis))
