"""The matrix and the order count what the runs of a study show, seed by seed."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hand_made import a_run, a_verdict

from gradflow.comparison.own_figures import load_figures
from gradflow.launch.compose import compose
from gradflow.runs.read import Run
from lab.figures.before_after import BEFORE_AFTER
from lab.figures.depth import DEPTH, by_depth, trainable_depth
from lab.figures.depth import draw as draw_depth
from lab.figures.matrix import MATRIX, draw, matrix
from lab.figures.order import ORDER, TEXT, Share, alone, draw_order, drawn, together
from lab.figures.predictors import FORETOLD

HEADLINE = {"metric": "accuracy", "direction": "max", "percent": True}


def a_seed(
    pathology: str, remedy: str, seed: int, accuracy: float, kind: str, **changes: Any
) -> Run:
    """A run whose only setting is named after the remedy; that of `same` changes nothing."""
    setting = "none" if remedy == "same" else remedy
    config = {
        "seed": seed,
        "activation": {"_target_": setting},
        "norm": {"_target_": pathology},
        "remedy": {remedy: "why"},
        "comparison": {"headline": HEADLINE, "baseline": {"remedy": "none"}},
    }
    return a_run(
        Path(f"{pathology}-{remedy}-{seed}"),
        axes={"pathology": pathology, "remedy": remedy},
        config=config,
        metrics={"train/accuracy": accuracy, "validation/accuracy": accuracy},
        verdict=a_verdict(kind),
        **changes,
    )


def three(
    pathology: str, remedy: str, accuracies: tuple[float, ...], kinds: str, **changes: Any
) -> list[Run]:
    """Three seeds; a letter for each verdict: h, healthy, or v, vanishing."""
    words = {"h": "healthy", "v": "vanishing"}
    return [
        a_seed(pathology, remedy, seed, accuracy, words[kind], **changes)
        for seed, (accuracy, kind) in enumerate(zip(accuracies, kinds, strict=True))
    ]


UNTREATED = (0.10, 0.11, 0.12)


@pytest.mark.parametrize(
    ("treated", "outcome", "cured"),
    [
        (three("p", "cure", (0.3, 0.4, 0.3), "hhh"), "cured", 3),
        (three("p", "partly", (0.3, 0.1, 0.3), "hvh"), "cured in part", 2),
        (three("p", "useless", (0.10, 0.12, 0.12), "vvv"), "not cured", 0),
        (three("p", "harm", (0.05, 0.06, 0.07), "vvv"), "not cured", 0),  # of nothing
        (three("p", "broken", (0.10, 0.11, 0.12), "vvv", diverged_at=3), "made worse", 0),
        (three("p", "same", UNTREATED, "vvv"), "already there", 0),
    ],
)
def test_a_cell_says_what_the_remedy_does_to_the_runs_of_the_same_seeds(
    treated: list[Run], outcome: str, cured: int
) -> None:
    cells = matrix([*three("p", "none", UNTREATED, "vvv"), *treated])
    cell = cells["p", treated[0].axes["remedy"]]
    assert (cell.outcome, cell.cured) == (outcome, cured)


def test_a_net_that_learns_is_made_worse_by_what_costs_accuracy_in_every_seed() -> None:
    untreated = three("p", "none", (0.30, 0.33, 0.36), "vhh")
    cells = matrix([*untreated, *three("p", "harm", (0.20, 0.22, 0.27), "vvv")])
    assert cells["p", "harm"].outcome == "made worse"


def test_two_pathologies_that_a_remedy_makes_one_net_count_once() -> None:
    runs = a_study()
    for run in runs:
        if run.axes["remedy"] == "clip":
            run.config["norm"] = {"_target_": "the same"}
    assert alone(matrix(runs))["clip"] == Share(0, 1)


def test_a_net_that_learns_untreated_is_not_cured_by_anything() -> None:
    cells = matrix([*three("p", "none", UNTREATED, "hvv"), *three("p", "a", (0.3,) * 3, "hhh")])
    assert (cells["p", "a"].outcome, cells["p", "a"].cured) == ("cured in part", 2)


def test_a_run_without_an_untreated_one_of_its_seed_or_that_did_not_end_is_left_out() -> None:
    treated = three("p", "a", (0.3,) * 3, "hhh")
    untreated = three("p", "none", UNTREATED, "vvv")
    failed = three("p", "b", (0.3,) * 3, "hhh", state="failed")
    cells = matrix([*untreated[:2], *treated, *failed])
    assert [run.config["seed"] for run in cells["p", "a"].treated] == [0, 1]
    assert ("p", "b") not in cells


def a_study() -> list[Run]:
    """Two pathologies, p and q, under all six of the text, alone and with those before it.

    ReLU cures p alone and q never; the last of all together cures both.
    """
    names = list(TEXT)
    runs = []
    for pathology in ("p", "q"):
        runs += three(pathology, "none", UNTREATED, "vvv")
        for i, name in enumerate(names):
            cures = pathology == "p" and name == "relu"
            runs += three(pathology, name, (0.3,) * 3, "hhh" if cures else "vvv")
            if i:
                joined = "+".join(names[: i + 1])
                cures = pathology == "p" or name == names[-1]
                runs += three(pathology, joined, (0.3,) * 3, "hhh" if cures else "vvv")
    return runs


def test_the_order_counts_pathologies_alone_and_with_all_before() -> None:
    cells = matrix(a_study())
    assert alone(cells) == dict(zip(TEXT, [Share(1, 2), *[Share(0, 2)] * 5], strict=True))
    expected = [*[Share(1, 2)] * 5, Share(2, 2)]
    assert together(cells) == dict(zip(TEXT, expected, strict=True))


def test_a_pathology_that_has_the_remedy_already_is_not_counted_alone() -> None:
    runs = [run for run in a_study() if run.axes != {"pathology": "q", "remedy": "relu"}]
    same = three("q", "relu", UNTREATED, "vvv")
    for run in same:
        run.config["activation"] = {"_target_": "none"}
    assert alone(matrix([*runs, *same]))["relu"] == Share(1, 1)


def test_the_drawn_nets_are_counted_over_those_that_lack_the_setting() -> None:
    """Counted anew from the lines of the suite's table."""
    from lab.faults.drawn.run import RESULTS

    lines = RESULTS.read_text().splitlines()
    head = lines[0].split(",")
    rows = [dict(zip(head, line.split(","), strict=True)) for line in lines[1:]]
    sick = [row for row in rows if row["learned"] == "False" and row["cures"]]
    bounded = [row for row in sick if row["activation"] in ("tanh", "sigmoid")]
    plain = [row for row in sick if row["norm"] != "before"]
    unclipped = [row for row in sick if row["clip"] == "none"]
    found = drawn()
    for name, eligible, cure in (
        ("relu", bounded, "activation"),
        ("batch_norm", plain, "norm"),
        ("clip", unclipped, "clip"),
    ):
        hits = sum(cure in row["cures"].split("+") for row in eligible)
        assert found[name] == Share(hits, len(eligible))
    assert found["resnet"] == Share(0, 0)
    assert found["lower_lr"].n < len(sick)


def test_the_figures_are_drawn_for_a_study_with_pathologies_and_remedies_alone() -> None:
    texts = [text.get_text() for axes in draw(a_study()).axes for text in axes.texts]
    assert texts.count("3 of 3 cured") == 1 + 5 + 1
    assert "untreated" in texts
    labels = [text.get_text() for text in draw_order(a_study()).axes[0].get_yticklabels()]
    assert labels == [f"{rank}. {text}" for rank, text in enumerate(TEXT.values(), 1)]
    for own, runs in ((MATRIX, a_study()[:3]), (ORDER, a_study()[:9])):
        with pytest.raises(ValueError, match=r"^(fewer than two|not all six)"):
            own.draw(runs)


def test_conf_lists_every_figure(conf: Path) -> None:
    figures = [MATRIX, ORDER, FORETOLD, DEPTH, BEFORE_AFTER]
    assert load_figures(compose([], conf).comparison.figures) == figures


def test_a_study_over_depth_is_a_line_for_each_remedy(conf: Path) -> None:
    runs = [
        a_seed("p", remedy, seed, 0.3 if depth < 20 else 0.1, "healthy")
        for remedy in ("relu", "none")
        for depth in (20, 8, 14)
        for seed in range(3)
    ]
    depths = [depth for _ in range(2) for depth in (20, 8, 14) for _ in range(3)]
    for run, depth in zip(runs, depths, strict=True):
        run.config["model"] = {"depth": depth}
    series = by_depth(runs)
    assert {remedy: list(lines) for remedy, lines in series.items()} == {
        "none": [8, 14, 20],
        "relu": [8, 14, 20],
    }
    lines = draw_depth(runs).axes[1].containers
    assert [line.get_label() for line in lines] == ["untreated", "relu"]
    drawn = np.asarray(lines[0].lines[0].get_ydata(), float)
    np.testing.assert_allclose(drawn, [30, 30, 10])
    with pytest.raises(ValueError, match=r"^fewer than three depths"):
        draw_depth(runs[:6])


def test_the_trainable_depth_is_that_of_the_runs_own_plain_net(conf: Path) -> None:
    """chi_1 of a linear net is sigma_w^2: here 0.9, whose depth scale is 1 / |ln 0.9|."""
    words = ["data=synthetic", "model=plain_cnn", "norm=none", "activation=identity"]
    words += ["init=gaussian", "init.weight_variance=0.9", "model.width=32"]
    plain = compose(words, conf).model_dump()
    found = trainable_depth(a_run(Path("plain"), config=plain, axes=plain["axes"]))
    assert found == pytest.approx(6 / -math.log(0.9), rel=0.25)  # of the weights that were drawn
    normed = compose([*words[:2], "norm=batch"], conf).model_dump()
    assert trainable_depth(a_run(Path("normed"), config=normed, axes=normed["axes"])) is None
    assert trainable_depth(a_run(Path("unknown"))) is None
