"""The foreign suite: every fault changes one thing, every base trains under the monitor."""

import itertools
from pathlib import Path

import pytest
import torch
from rich.console import Console

from gradflow.gradients.record import read_gradients
from gradflow.gradients.verdict import Kind
from lab.faults.foreign import data, tasks
from lab.faults.foreign.cases import HEALTHY, SICK, ForeignCase, foreign_cases
from lab.faults.foreign.run import RESULTS, judge_all, label, optimizers
from lab.faults.foreign.table import cause_is_right, is_right, print_tables
from lab.faults.peers import CLASSES, answers
from lab.faults.runs import OUTCOME, read_rows, write_outcome
from lab.faults.train import train

CASES = foreign_cases()
HEALTHY_CASES = [case for case in CASES if case.fault == "none"]
FAULTY_CASES = [case for case in CASES if case.fault != "none"]
NOISE = (torch.randn(12_000, 3, 16, 16), torch.randint(0, 10, (12_000,)))


@pytest.fixture(autouse=True)
def small_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise of CIFAR-10's shape, so that the tests need no data set, and short scores."""
    monkeypatch.setattr(data, "_pictures", lambda: NOISE)
    monkeypatch.setattr(tasks, "HELD_OUT", 100)


def test_names_are_unique_and_no_base_is_in_both_parts() -> None:
    assert len({case.name for case in CASES}) == len(CASES)
    bases = {part: {c.base for c in CASES if c.part == part} for part in ("tuning", "held_out")}
    assert not bases["tuning"] & bases["held_out"]
    assert len(bases["tuning"]) == len(bases["held_out"])


def test_every_base_has_one_healthy_run_and_at_least_one_faulty_run() -> None:
    assert len(HEALTHY_CASES) == len({case.base for case in CASES})
    assert {case.base for case in FAULTY_CASES} == {case.base for case in HEALTHY_CASES}
    kinds = set(Kind.__args__)  # type: ignore[attr-defined]
    assert all(case.allowed and set(case.allowed) < kinds for case in CASES)
    assert all("healthy" not in case.allowed for case in FAULTY_CASES)


@pytest.mark.parametrize("case", HEALTHY_CASES, ids=lambda case: case.base)
def test_every_base_trains_under_the_monitor_and_the_tools_without_an_error(
    case: ForeignCase, tmp_path: Path
) -> None:
    module, batches, score = case.build()
    steps = train(module, batches, tmp_path, 1, 0, optimizers=optimizers(module))
    assert set(answers(steps, False)) == set(CLASSES)
    assert not read_gradients(tmp_path).is_empty()
    assert score(module) <= 1


@pytest.mark.parametrize("case", FAULTY_CASES, ids=lambda case: case.name)
def test_every_fault_changes_the_run_and_nothing_else(case: ForeignCase) -> None:
    healthy = next(other for other in HEALTHY_CASES if other.base == case.base)
    (a, batches_a, _), (b, batches_b, _) = healthy.build(), case.build()
    weights = zip(a.parameters(), b.parameters(), strict=False)
    same_weights = all(torch.equal(p, q) for p, q in weights)
    same_batch = all(
        torch.equal(x, y) for x, y in zip(next(iter(batches_a)), next(iter(batches_b)), strict=True)
    )
    same_rate = _rates(a) == _rates(b)
    kinds_a, kinds_b = ([type(module).__name__ for module in net.modules()] for net in (a, b))
    assert [same_weights, same_batch, same_rate, kinds_a == kinds_b].count(False) == 1


def _rates(module: torch.nn.Module) -> list[float]:
    found = module.configure_optimizers()  # type: ignore[operator]
    found = found["optimizer"] if isinstance(found, dict) else found
    return [
        optimizer.defaults["lr"] for optimizer in (found if isinstance(found, list) else [found])
    ]


def test_batches_are_the_same_each_time() -> None:
    _, batches, _ = CASES[0].build()
    first, second = (list(itertools.islice(batches, 2)) for _ in range(2))
    assert torch.equal(first[1][0], second[1][0])
    assert not torch.equal(first[0][0], first[1][0])


@pytest.mark.parametrize(
    ("score", "expected"),
    [(1.0, "healthy"), (HEALTHY, "healthy"), (0.03, "unclear"), (SICK, "sick"), (-1.0, "sick")],
)
def test_the_label_is_the_outcome(score: float, expected: str) -> None:
    assert label(score) == expected


def test_the_results_are_those_of_the_suite_and_their_labels_follow_from_the_scores() -> None:
    rows = read_rows(RESULTS)
    written = {(row["name"], row["part"], row["allowed"]) for row in rows}
    suite = {(case.name, case.part, " ".join(case.allowed)) for case in CASES}
    assert written <= suite
    # The fresh part is judged last.
    assert {case for case in suite - written if case[1] != "fresh"} == set()
    assert all(row["label"] == label(float(row["score"])) for row in rows)


def row(state: str, verdict: str, confirmed: int = 1, allowed: str = "dead") -> dict[str, str]:
    return {
        "name": f"{state}-{verdict}",
        "part": "tuning",
        "fault": "negative_bias",
        "score": "0.0",
        "label": state,
        "confirmed": str(confirmed),
        "allowed": allowed,
        "verdict": verdict,
        "by_step_20": verdict,
        "confidence": "0.9",
        "error": "",
    }


def test_the_cause_counts_in_confirmed_sick_runs_alone() -> None:
    assert cause_is_right(row("sick", "dead", allowed="frozen dead")) is True
    assert cause_is_right(row("sick", "healthy")) is False
    assert cause_is_right(row("sick", "dead", confirmed=0)) is None
    assert cause_is_right(row("healthy", "dead")) is None
    assert is_right(row("healthy", "dead")) is False
    assert is_right(row("sick", "healthy", confirmed=0)) is False
    assert is_right(row("sick", "frozen", confirmed=0)) is None


def test_the_tables_count_unclear_runs_apart_and_the_tools_on_the_runs_that_they_judged(
    capsys: pytest.CaptureFixture[str],
) -> None:
    answered = dict.fromkeys(CLASSES, "dead")
    rows: list[dict[str, str]] = [
        row("healthy", "healthy") | answered,
        row("healthy", "dead"),
        row("sick", "dead") | answered,
        row("sick", "frozen"),
        row("unclear", "healthy"),
    ]
    print_tables(rows, True, Console(width=150))
    printed = capsys.readouterr().out
    assert "2 healthy, 2 sick, 1 unclear, 0 errors" in printed
    assert "0.750" in printed  # the verdict's balanced accuracy
    assert "0.500" in printed  # the tools', over one healthy run and one sick run
    assert "unclear: said to be sick 0/1" in printed
    assert "cause right: 1/2" in printed
    assert "2 misses" in printed
    assert "tuning part: 5 of" in printed
    assert "held out" not in printed


def test_a_run_is_judged_from_its_record_and_counts_if_its_base_learned(tmp_path: Path) -> None:
    faulty = FAULTY_CASES[0]
    healthy = next(case for case in HEALTHY_CASES if case.base == faulty.base)
    for case, score in ((healthy, 0.5), (faulty, 0.0)):
        module, batches, _ = case.build()
        train(module, batches, tmp_path / case.name, 1, 0)
        outcome = {"score": score, "seconds": 0.1, "error": "", "BTTackler": "dead"}
        write_outcome(tmp_path / case.name / OUTCOME, outcome)
    sick, base = judge_all([faulty, healthy], tmp_path)
    assert (sick["label"], sick["confirmed"], sick["BTTackler"]) == ("sick", 1, "dead")
    assert (base["label"], base["confirmed"], base["AutoTrainer"]) == ("healthy", 1, "")
    write_outcome(tmp_path / healthy.name / OUTCOME, outcome)  # a base that did not learn
    assert [line["confirmed"] for line in judge_all([faulty, healthy], tmp_path)] == [0, 0]
