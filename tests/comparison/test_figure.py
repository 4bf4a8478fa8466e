"""The picture of a study holds a line for each configuration."""

from pathlib import Path

import pytest
from hand_made import a_run, record

from gradflow.comparison.figure import draw_flows, draw_profiles


def test_the_figure_names_each_configuration_once_whatever_its_seeds(tmp_path: Path) -> None:
    runs = []
    for remedy, seed in (("none", 0), ("none", 1), ("relu", 0), ("relu", 1)):
        folder = tmp_path / f"{remedy}{seed}"
        folder.mkdir()
        record(folder, first=1e-12, last=1e-2)
        axes = {"pathology": "vanishing", "remedy": remedy}
        runs.append(a_run(folder, axes=axes, config={"seed": seed}))
    draw_profiles(runs, tmp_path / "figure.svg")
    drawn = (tmp_path / "figure.svg").read_text()
    assert drawn.count("<!-- relu -->") == 1
    assert drawn.count("<!-- none -->") == 1


def test_runs_without_a_record_give_no_empty_figure(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no run has gradients recorded"):
        draw_profiles([a_run(tmp_path)], tmp_path / "figure.png")


def test_the_flow_has_a_panel_for_each_configuration_whatever_its_seeds(tmp_path: Path) -> None:
    runs = []
    for remedy, seed in (("none", 0), ("none", 1), ("relu", 0)):
        folder = tmp_path / f"{remedy}{seed}"
        folder.mkdir()
        record(folder, first=1e-12, last=1e-2)
        axes = {"pathology": "vanishing", "remedy": remedy}
        runs.append(a_run(folder, axes=axes, config={"seed": seed}))
    draw_flows(runs, tmp_path / "flow.svg")
    drawn = (tmp_path / "flow.svg").read_text()
    assert drawn.count("<!-- relu -->") == 1
    assert drawn.count("<!-- none -->") == 1


def test_runs_that_were_not_watched_give_no_empty_flow(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no run has recorded gradients"):
        draw_flows([a_run(tmp_path)], tmp_path / "flow.png")
