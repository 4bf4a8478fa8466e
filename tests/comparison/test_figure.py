"""The pictures of a study hold one line, or one panel, for each configuration."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hand_made import a_run, record

from gradflow.comparison.figure import draw_flows, draw_profiles
from gradflow.comparison.runs import Run

Draw = Callable[[Sequence[Run], Path], None]


@pytest.mark.parametrize("draw", [draw_profiles, draw_flows])
def test_a_picture_names_each_configuration_once_whatever_its_seeds(
    tmp_path: Path, draw: Draw
) -> None:
    runs = []
    for remedy, seed in (("none", 0), ("none", 1), ("relu", 0), ("relu", 1)):
        folder = tmp_path / f"{remedy}{seed}"
        folder.mkdir()
        record(folder, first=1e-12, last=1e-2)
        axes = {"pathology": "vanishing", "remedy": remedy}
        runs.append(a_run(folder, axes=axes, config={"seed": seed}))
    draw(runs, tmp_path / "figure.svg")
    drawn = (tmp_path / "figure.svg").read_text()
    assert drawn.count("<!-- relu -->") == 1
    assert drawn.count("<!-- none -->") == 1


@pytest.mark.parametrize("draw", [draw_profiles, draw_flows])
def test_runs_without_a_record_give_no_empty_picture(tmp_path: Path, draw: Draw) -> None:
    with pytest.raises(ValueError, match=r"no run has .*gradients"):
        draw([a_run(tmp_path)], tmp_path / "figure.png")
