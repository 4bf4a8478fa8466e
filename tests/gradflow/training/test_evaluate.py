"""A run's checkpoint, evaluated again, gives what the run recorded, whatever callbacks it had."""

from functools import partial
from pathlib import Path

import pytest
import torch
from records import rows_of
from small_project import PROJECT, fit

from gradflow.errors import ConfigError
from gradflow.training import evaluate as library

evaluate = partial(library.evaluate, PROJECT)
MEASURED = {f"{s}/{f}" for s in ("validation", "test") for f in ("loss", "distance")}


@pytest.mark.parametrize(
    "callback",
    [
        None,
        "{_target_: ending.HalveAtEnd}",
        "{_target_: ending.ValidateOthers}",
        "{_target_: lightning.pytorch.callbacks.EMAWeightAveraging, decay: 0.9}",
        "{_target_: ending.EndAt, step: 25}",
    ],
)
def test_the_figures_of_the_end_are_of_the_weights_of_the_end(
    tmp_path: Path, callback: str | None
) -> None:
    words = [] if callback is None else [f"+callbacks.exchange={callback}"]
    recorded = fit(tmp_path, "steps=30", "validate_every=10", *words)
    again = evaluate(tmp_path, trust=callback is not None)  # the callbacks stand in no conf/
    assert again.keys() == MEASURED
    assert again == {name: recorded[name] for name in again}


def test_the_best_checkpoint_has_the_best_headline_of_all_validations(tmp_path: Path) -> None:
    fit(tmp_path, "steps=30", "validate_every=10", "lr=0.05")
    best = evaluate(tmp_path, "best")["validation/distance"]
    seen = [
        float(row["validation/distance"]) for row in rows_of(tmp_path) if row["validation/loss"]
    ]
    assert len(seen) >= 3
    assert best == pytest.approx(min(seen), rel=1e-6)
    assert best < seen[-1]


def test_a_damaged_checkpoint_is_named_with_what_to_do(tmp_path: Path) -> None:
    fit(tmp_path, "steps=2")
    file = tmp_path / "checkpoints" / "last.ckpt"
    whole = file.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"no checkpoint"):
        file.write_bytes(damaged)
        with pytest.raises(ConfigError) as refused:
            evaluate(tmp_path)
        assert str(refused.value) == f"{file}: is damaged; remove {tmp_path} to train the run again"


def test_threads_and_random_state_are_the_callers_again(tmp_path: Path) -> None:
    fit(tmp_path, "steps=2")
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
