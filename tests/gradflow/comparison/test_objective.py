"""What a run is worth to a search."""

import math
from pathlib import Path

import pytest
import yaml
from filelock import FileLock
from hand_made import a_folder
from omegaconf import OmegaConf

from gradflow.comparison.configurations import configurations
from gradflow.comparison.objective import best, best_first, objective
from gradflow.launch.search import trial_value
from gradflow.runs.read import read_run

WORST = {"max": -math.inf, "min": math.inf}


def a_run(folder: Path, direction: str = "max", state: str = "finished", **changes: object) -> Path:
    a_folder(folder, state, **changes)
    config = yaml.safe_load((folder / "config.yaml").read_text())
    headline = {"metric": "share", "direction": direction, "percent": True}
    config |= {"comparison": {"headline": headline}, "lr": float(folder.name)}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder


@pytest.mark.parametrize(
    ("metrics", "expected"),
    [
        ({"validation/share": 0.5, "test/share": 0.9, "train/share": 0.8}, 0.5),
        ({"train/share": 0.8, "test/share": 0.9}, 0.8),
        ({"test/share": 0.9}, -math.inf),
        ({"validation/share": math.nan}, -math.inf),
    ],
)
def test_a_finished_run_is_worth_its_headline_metric_but_never_the_tests(
    tmp_path: Path, metrics: dict[str, float], expected: float
) -> None:
    assert objective(read_run(a_run(tmp_path / "1", metrics=metrics))) == expected


@pytest.mark.parametrize("direction", ["max", "min"])
@pytest.mark.parametrize(
    ("state", "changes"),
    [
        ("failed", {}),
        ("interrupted", {}),
        ("stopped", {}),  # early, by its verdict
        ("running", {}),  # killed: nobody holds its lock
        ("finished", {"diverged_at": 3}),
    ],
)
def test_a_run_that_diverged_or_did_not_finish_is_worth_the_worst(
    tmp_path: Path, direction: str, state: str, changes: dict[str, int]
) -> None:
    folder = a_run(tmp_path / "1", direction, state, metrics={"validation/share": 0.5}, **changes)
    assert objective(read_run(folder)) == WORST[direction]
    composed = OmegaConf.create({"comparison": {"headline": {"direction": direction}}})
    assert trial_value(folder, composed) == WORST[direction]
    refused = tmp_path / "refused"
    refused.mkdir()
    assert trial_value(refused, composed) == WORST[direction]


def test_a_run_that_another_process_computes_has_no_value_yet(tmp_path: Path) -> None:
    folder = a_run(tmp_path / "1", state="running")
    with FileLock(folder / ".lock"):
        assert trial_value(folder, OmegaConf.create({})) is None


@pytest.mark.parametrize("direction", ["max", "min"])
def test_rows_are_sorted_by_the_objective(tmp_path: Path, direction: str) -> None:
    runs = [
        read_run(a_run(tmp_path / name, direction, metrics={"validation/share": share}, **more))
        for name, share, more in [
            ("0.1", 0.3, {}),
            ("0.2", 0.6, {"diverged_at": 3}),
            ("0.3", 0.5, {}),
            ("0.4", 0.4, {}),
        ]
    ]
    _, rows = configurations(runs)
    finite = ["0.3", "0.4", "0.1"] if direction == "max" else ["0.1", "0.4", "0.3"]
    ordered = best_first(rows)
    assert [row.runs[0].folder.name for row in ordered] == [*finite, "0.2"]
    found = best(rows)
    assert found is not None
    assert found.folder.name == finite[0]
    assert best([row for row in rows if row.runs[0].diverged_at]) is None
