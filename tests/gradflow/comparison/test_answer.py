"""What a study shows is said in words: of each thing that was treated, what cured it."""

from dataclasses import replace
from pathlib import Path

import pytest
from hand_made import a_run, a_verdict
from scipy import stats

from gradflow.comparison.answer import MOST, answers
from gradflow.comparison.configurations import configurations
from gradflow.comparison.page import build_page
from gradflow.runs.read import Run

COMPARISON = {
    "headline": {"metric": "accuracy", "direction": "max", "percent": True},
    "baseline": {"remedy": "none"},
}
SICK, WELL = "vanishing", "healthy"


def seeds(pathology: str, remedy: str, *results: tuple[float, str]) -> list[Run]:
    return [
        a_run(
            Path(f"{pathology}-{remedy}-{seed}"),
            axes={"pathology": pathology, "remedy": remedy},
            config={"seed": seed, "comparison": COMPARISON, "activation": {"_target_": remedy}},
            metrics={"validation/accuracy": accuracy},
            verdict=a_verdict(kind),
        )
        for seed, (accuracy, kind) in enumerate(results)
    ]


def said(*runs: Run) -> list[str]:
    return answers(*configurations(runs))


def test_a_remedy_is_named_with_its_paired_interval_if_it_cures_every_seed() -> None:
    found = said(
        *seeds("p", "none", (0.10, SICK), (0.12, SICK)),
        *seeds("p", "relu", (0.30, WELL), (0.34, WELL)),
        *seeds("p", "clip", (0.10, SICK), (0.30, WELL)),
    )
    interval = stats.ttest_rel((0.30, 0.34), (0.10, 0.12)).confidence_interval(0.95)
    half = 50 * (interval.high - interval.low)
    assert found == [
        f"p: 1 of 2 cured it: relu (+21.0 ± {half:.1f}).",
        "In brackets: validation accuracy minus that of remedy=none, points.",
    ]


def test_each_pathology_has_a_sentence_and_one_that_learns_untreated_has_none() -> None:
    found = said(
        *seeds("p", "none", (0.1, SICK)),
        *seeds("p", "relu", (0.1, SICK)),
        *seeds("q", "none", (0.1, SICK)),
        *seeds("q", "relu", (0.3, WELL)),
        *seeds("r", "none", (0.4, WELL)),
        *seeds("r", "relu", (0.5, WELL)),
    )
    assert found[:2] == ["p: none of 1 cured it.", "q: 1 of 1 cured it: relu (+20.0)."]
    assert len(found) == 3


def test_a_run_that_has_not_ended_or_changes_nothing_or_lacks_a_partner_is_not_counted() -> None:
    untreated = seeds("p", "none", (0.1, SICK), (0.1, SICK))
    same = seeds("p", "same", (0.1, SICK), (0.1, SICK))
    for run in same:
        run.config["activation"] = {"_target_": "none"}
    running = [replace(run, state="running") for run in seeds("p", "open", (0.3, WELL))]
    alone = seeds("p", "alone", (0.3, WELL), (0.3, WELL), (0.3, WELL))
    useless = seeds("p", "clip", (0.1, SICK), (0.1, SICK))
    assert said(*untreated, *same, *running, *alone, *useless) == ["p: none of 1 cured it."]


def test_a_note_cannot_move_the_terminals_cursor() -> None:
    runs = seeds("p", "none", (0.1, SICK))
    runs[0].config["study"] = {"name": "x", "note": "red \x1b[31m and \x07 bell" + "a" * 9000}
    (note,) = said(*runs)
    assert note.startswith("Note: red [31m and bell")
    assert note.isprintable()
    assert len(note) < 600


def test_a_studys_own_note_comes_first_and_once() -> None:
    runs = [*seeds("p", "none", (0.1, SICK)), *seeds("p", "relu", (0.3, WELL))]
    for run in runs:
        run.config["study"] = {"name": "mine", "note": "does ReLU\nhelp?"}
    assert said(*runs)[:2] == ["Note: does ReLU help?", "p: 1 of 1 cured it: relu (+20.0)."]


def test_nothing_is_said_without_a_baseline_or_a_treated_run() -> None:
    assert said(*seeds("p", "none", (0.1, SICK))) == []
    assert said(*seeds("p", "relu", (0.3, WELL))) == []


def test_the_page_begins_with_the_answer_and_escapes_it(tmp_path: Path) -> None:
    runs = [*seeds("<b>p", "none", (0.1, SICK)), *seeds("<b>p", "relu", (0.3, WELL))]
    text = build_page(runs, tmp_path / "page.html", "a study").read_text()
    assert "<li>&lt;b&gt;p: 1 of 1 cured it: relu (+20.0).</li>" in text
    assert "<b>p" not in text
    assert text.index("cured it") < text.index('id="curve-a"')


def test_of_many_cures_the_first_are_named_and_the_rest_counted() -> None:
    cures = [run for i in range(8) for run in seeds("p", f"r{i}", (0.3, WELL))]
    (sentence, _) = said(*seeds("p", "none", (0.1, SICK)), *cures)
    assert sentence.startswith("p: 8 of 8 cured it: r0 (+20.0), r1 (+20.0)")
    assert sentence.endswith("r5 (+20.0), and 2 more.")


@pytest.mark.parametrize("count", [MOST, MOST + 5])
def test_a_large_study_has_no_more_than_a_screen_of_sentences(count: int) -> None:
    runs = [
        run
        for i in range(count)
        for remedy in ("none", "relu")
        for run in seeds(f"p{i}", remedy, (0.1, SICK))
    ]
    assert len(said(*runs)) == MOST
