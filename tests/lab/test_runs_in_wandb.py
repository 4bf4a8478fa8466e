"""Runs with a pathology and a remedy, as Weights & Biases has them."""

from pathlib import Path

import pytest
import wandb
from small_run import REPOSITORY, SMALL

from gradflow.launch.compose import compose
from gradflow.runs.config import Study
from project.train import train


@pytest.mark.slow
def test_runs_of_one_process_are_several_runs_in_weights_and_biases(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(REPOSITORY)
    for kind in ("DATA", "CACHE", "CONFIG"):
        monkeypatch.setenv(f"WANDB_{kind}_DIR", str(tmp_path / "wandb_files"))
    seen: list[wandb.Run] = []
    init = wandb.init
    monkeypatch.setattr(wandb, "init", lambda **k: seen.append(init(**k)) or seen[-1])
    for remedy in ("none", "relu"):
        config = compose([*SMALL, "logger=offline", "pathology=vanishing", f"remedy={remedy}"])
        config = config.model_copy(update={"study": Study(name="both")})
        train(config.model_copy(update={"steps": 2}), tmp_path / remedy, name=f"remedy={remedy}")
    first, second = seen
    assert first.id != second.id
    assert {run.group for run in seen} == {"both"}
    assert [run.name for run in seen] == ["remedy=none", "remedy=relu"]
    assert [set(run.tags or ()) for run in seen] == [{"vanishing"}, {"vanishing", "relu"}]
    assert [run.config["folder"] for run in seen] == [str(tmp_path / r) for r in ("none", "relu")]
    words = {"pathology": "vanishing", "activation": "relu", "seed": 0, "study": "both"}
    assert seen[1].config["remedy"] == "relu"
    assert {key: seen[1].config[key] for key in words} == words
    assert seen[1].config["settings"]["model"]["depth"] == 8
    for remedy, one in zip(("none", "relu"), seen, strict=True):
        (file,) = (tmp_path / remedy / "wandb").glob("offline-run-*/run-*.wandb")
        assert one.id in file.name
