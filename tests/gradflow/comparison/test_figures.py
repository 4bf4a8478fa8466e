"""The figures for papers hold one line, or one panel, for each configuration."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hand_made import COMPARED, a_run, record
from matplotlib.figure import Figure
from PIL import Image

from gradflow.comparison.configurations import Configuration, configurations
from gradflow.comparison.figures import write_figures
from gradflow.comparison.figures.curves import draw_curves
from gradflow.comparison.figures.flows import draw_flows
from gradflow.comparison.figures.histograms import draw_across, draw_layers
from gradflow.comparison.figures.profiles import draw_profiles
from gradflow.comparison.own_figures import OwnFigure
from gradflow.errors import ConfigError
from gradflow.gradients.histogram import measure
from gradflow.gradients.record import Entry, RecordWriter
from gradflow.runs.read import Run

DRAWINGS = (draw_profiles, draw_flows, draw_curves, draw_layers, draw_across)
Draw = Callable[[Sequence[str], Sequence[Configuration]], Figure]


@pytest.fixture
def runs(tmp_path: Path) -> list[Run]:
    """Two configurations of two seeds; their dL/dz differ tenfold from seed to seed."""
    made = []
    for remedy, seed in (("none", 0), ("none", 1), ("relu", 0), ("relu", 1)):
        folder = tmp_path / f"{remedy}{seed}"
        folder.mkdir()
        record(folder, first=1e-12 * 100**seed, last=1e-2)
        loss = 2.0 + seed
        rows = f"19,0,{loss},0.1\n39,0,{loss / 2},0.2\n"
        (folder / "metrics.csv").write_text(f"step,epoch,train/loss,train/accuracy\n{rows}")
        axes = {"pathology": "vanishing", "remedy": remedy}
        made.append(a_run(folder, axes=axes, config={"seed": seed} | COMPARED))
    return made


@pytest.mark.parametrize("draw", DRAWINGS)
def test_a_figure_names_each_configuration_once_whatever_its_seeds(
    runs: list[Run], draw: Draw, tmp_path: Path
) -> None:
    draw(*configurations(runs)).savefig(tmp_path / "figure.svg")
    drawn = (tmp_path / "figure.svg").read_text()
    assert drawn.count("<!-- relu -->") == 1
    assert drawn.count("<!-- none -->") == 1


@pytest.mark.parametrize("draw", DRAWINGS)
def test_runs_without_a_record_give_no_empty_figure(tmp_path: Path, draw: Draw) -> None:
    with pytest.raises(ValueError, match=r"no run has"):
        draw(*configurations([a_run(tmp_path)]))


def test_a_profile_is_the_mean_of_its_seeds_in_decades(runs: list[Run]) -> None:
    (axes,) = draw_profiles(*configurations(runs)).axes
    none, relu = axes.get_lines()
    np.testing.assert_allclose(none.get_ydata(), [-11, -2, np.log10(7)])
    np.testing.assert_allclose(relu.get_ydata(), none.get_ydata())
    band = axes.collections[0].get_paths()[0].vertices
    assert (band[:, 1].min(), band[0, 0]) == (pytest.approx(-12), 1)


def test_a_curve_is_the_mean_of_its_seeds_over_the_steps(runs: list[Run]) -> None:
    loss, accuracy = draw_curves(*configurations(runs)).axes
    np.testing.assert_allclose(loss.get_lines()[0].get_xydata(), [[19, 2.5], [39, 1.25]])
    np.testing.assert_allclose(accuracy.get_lines()[0].get_ydata(), [10, 20])


def test_a_ridge_is_the_share_of_elements_in_each_bin(runs: list[Run]) -> None:
    (axes,) = draw_across(*configurations(runs)).axes
    ridge = axes.get_lines()[0]
    x, y = np.asarray(ridge.get_xdata()), np.asarray(ridge.get_ydata())
    assert x[y != 0].tolist() == [0.5]  # `record` writes ones: the bin of 2^0 has all of them


def test_a_ridge_is_drawn_for_each_parameter_of_two_dimensions_or_more(tmp_path: Path) -> None:
    writer = RecordWriter(tmp_path, 0)
    dimensions = {"stem.weight": 4, "stem.bias": 1, "bn.weight": 1, "mixer.kernel": 2}
    entries = [Entry(name, i, 10, n) for i, (name, n) in enumerate(dimensions.items())]
    ones = [torch.full((10,), 2.0**-i) for i in range(4)]
    writer.append(0, "gradient", entries, vars(measure(ones)))
    writer.flush()
    (axes,) = draw_layers(*configurations([a_run(tmp_path)])).axes
    peaks = [np.asarray(line.get_ydata()).argmin() for line in axes.get_lines()]
    assert peaks == [126, 126 - 3]


def test_all_figures_are_written_as_png_and_svg(runs: list[Run], tmp_path: Path) -> None:
    written, left_out = write_figures(*configurations(runs), tmp_path / "new" / "figures")
    assert len(written) == 2 * len(DRAWINGS)
    assert left_out == []
    for path in written:
        if path.suffix == ".png":
            with Image.open(path) as image:
                assert min(image.size) > 300
        else:
            assert path.read_text().startswith("<?xml")


def test_a_figure_of_ones_own_is_written_beside_the_others(runs: list[Run], tmp_path: Path) -> None:
    drawn = []

    def draw(all_runs: Sequence[Run]) -> Figure:
        drawn.extend(all_runs)
        return Figure()

    own = OwnFigure("mine", "An empty figure.", draw)
    written, _ = write_figures(*configurations(runs), tmp_path, [own])
    assert {path.name for path in written} > {"mine.png", "mine.svg"}
    assert {run.folder for run in drawn} == {run.folder for run in runs}


def test_what_cannot_be_drawn_is_named_and_the_rest_drawn(runs: list[Run], tmp_path: Path) -> None:
    for run in runs:
        (run.folder / "metrics.csv").unlink()
    written, left_out = write_figures(*configurations(runs), tmp_path)
    assert left_out == ["curves: no run has logged any training metric"]
    assert len(written) == 2 * (len(DRAWINGS) - 1)


def test_a_folder_that_cannot_be_made_is_refused_in_one_line(
    runs: list[Run], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"^--figures .*/file/x: Not a directory$"):
        write_figures(*configurations(runs), tmp_path / "file" / "x")
