"""A run's checkpoint, evaluated again, gives what the run recorded."""

from pathlib import Path

import pytest

from gradflow.config import ConfigError, compose
from gradflow.training.evaluate import evaluate
from gradflow.training.train import train

WORDS = [
    "data=synthetic",
    "data.train_images=300",
    "data.test_images=100",
    "data.validation=100",
    "data.batch_size=20",
    "model.depth=8",
    "model.width=4",
    "logger=none",
    "steps=30",
    "validate_every=10",
]


def test_an_evaluated_checkpoint_has_the_figures_of_its_run(tmp_path: Path, conf: Path) -> None:
    recorded = train(compose(WORDS, conf), tmp_path)
    again = evaluate(tmp_path)
    assert set(again) == {f"{s}/{f}" for s in ("validation", "test") for f in ("loss", "accuracy")}
    assert again == {name: recorded[name] for name in again}


def test_the_best_checkpoint_is_at_least_as_accurate_as_every_validation(
    tmp_path: Path, conf: Path
) -> None:
    train(compose(WORDS, conf), tmp_path)
    best = evaluate(tmp_path, "best")["validation/accuracy"]
    lines = (tmp_path / "metrics.csv").read_text().splitlines()
    column = lines[0].split(",").index("validation/accuracy")
    seen = [float(value) for line in lines[1:] if (value := line.split(",")[column])]
    assert len(seen) >= 3
    assert best == pytest.approx(max(seen), abs=1e-7)


def test_a_folder_without_a_checkpoint_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no such checkpoint; is .* the folder of a run\?$"):
        evaluate(tmp_path)
