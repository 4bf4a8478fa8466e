"""The figure of a pair shows the gradients of both sides and every seed's accuracy."""

import csv
import re
from dataclasses import replace

import pytest

from gradflow.gradients.flow import Flow
from gradflow.launch.compose import compose
from gradflow.runs.read import Run, read_runs
from lab.figures.before_after import draw, pair
from project.train import train

WORDS = ["data=synthetic", "data.train_images=200", "data.test_images=100", "data.validation=100"]
WORDS += ["data.batch_size=20", "model.depth=8", "model.width=4", "steps=6", "log_every=2"]
WORDS += ["logger=none", "trainer=cpu", "test=false", "dry_step=false", "pathology=vanishing"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    """An untreated net, and two seeds with ReLU."""
    folder = tmp_path_factory.mktemp("study")
    for remedy, seed in (("relu", 0), ("none", 0), ("relu", 1)):
        config = compose([*WORDS, f"remedy={remedy}", f"seed={seed}"])
        train(config, folder / f"remedy={remedy},seed={seed}")
    return read_runs([folder])


def accuracies(run: Run) -> list[float]:
    with (run.folder / "metrics.csv").open() as lines:
        rows = [row["train/accuracy"] for row in csv.DictReader(lines)]
    return [100 * float(value) for value in rows if value]


def test_the_untreated_runs_stand_on_the_left_and_every_seed_has_a_line(runs: list[Run]) -> None:
    figure = draw(runs)
    left, middle, right = figure.axes[:3]
    assert left.get_title(loc="left").startswith("before: vanishing\nverdicts: ")
    assert middle.get_title(loc="left").startswith("after: relu\nverdicts: ")
    assert re.search(r" \d/2", middle.get_title(loc="left"))
    before, after = pair(runs)
    lines = [line for line in right.lines if len(line.get_xdata()) > 2]
    assert len(lines) == 3
    for run, line in zip([*before, *after], lines, strict=True):
        assert list(line.get_ydata()) == pytest.approx(accuracies(run))
    for axes, run in ((left, before[0]), (middle, after[0])):
        (mesh,) = axes.collections[:1]
        shown = mesh.get_array()
        assert shown is not None
        flows = run.flows()
        assert shown.shape == (len(flows[0].layers), len(flows))
        assert shown[0, 0] == pytest.approx(flows[0].gradient[0])


def test_other_sets_of_runs_have_no_such_figure(runs: list[Run]) -> None:
    treated = [run for run in runs if run.axes["remedy"] == "relu"]
    for some in ([], treated, [run for run in runs if run not in treated]):
        with pytest.raises(
            ValueError, match="not two configurations, untreated and with one remedy"
        ):
            draw(some)


def test_no_record_is_read_for_a_study_that_is_no_pair(
    runs: list[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A study may have a thousand runs, and this figure is tried for each study."""
    changed = {"axes": runs[0].axes | {"remedy": "selu"}, "config": runs[0].config | {"lr": 7}}
    other = replace(runs[0], **changed)
    read: list[Run] = []

    def flows(run: Run, until: int | None = None) -> list[Flow]:
        read.append(run)
        return []

    monkeypatch.setattr(Run, "flows", flows)
    with pytest.raises(ValueError, match="not two configurations"):
        draw([*runs, other])
    assert read == []
