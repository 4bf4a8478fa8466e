"""A run's checkpoint, evaluated again, gives what the run recorded."""

from functools import partial
from pathlib import Path

import pytest
import torch

from gradflow.errors import ConfigError
from gradflow.launch.compose import compose
from gradflow.training import evaluate as library
from project.train import PROJECT, train

evaluate = partial(library.evaluate, PROJECT)
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


@pytest.mark.parametrize(
    "callback",
    [
        "{_target_: ending.HalveAtEnd}",
        "{_target_: ending.ValidateOthers}",
        "{_target_: lightning.pytorch.callbacks.EMAWeightAveraging, decay: 0.9}",
        "{_target_: ending.EndAt, step: 25}",
    ],
)
def test_the_figures_of_the_end_are_of_the_weights_of_the_end(
    tmp_path: Path, conf: Path, callback: str
) -> None:
    words = [*WORDS, "lr=0.02", f"+callbacks.exchange={callback}"]
    recorded = train(compose(words, conf), tmp_path)
    again = evaluate(tmp_path)
    assert len(again) == 4
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


def test_a_damaged_checkpoint_is_named_with_what_to_do(tmp_path: Path, conf: Path) -> None:
    train(compose([*WORDS, "steps=2"], conf), tmp_path)
    file = tmp_path / "checkpoints" / "last.ckpt"
    whole = file.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"no checkpoint"):
        file.write_bytes(damaged)
        with pytest.raises(ConfigError) as refused:
            evaluate(tmp_path)
        assert str(refused.value) == f"{file}: is damaged; remove {tmp_path} to train the run anew"


def test_threads_and_random_state_are_the_callers_again(tmp_path: Path, conf: Path) -> None:
    train(compose([*WORDS, "steps=2", "threads=1"], conf), tmp_path)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    torch.manual_seed(7)
    try:
        evaluate(tmp_path)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert torch.equal(torch.rand(5), torch.rand(5, generator=torch.Generator().manual_seed(7)))


def test_a_folder_without_a_checkpoint_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no such checkpoint; is .* the folder of a run\?$"):
        evaluate(tmp_path)
