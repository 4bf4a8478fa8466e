"""The fault suite's own arithmetic: a table over runs must not flatter the verdict."""

import csv
import json
import math
from pathlib import Path
from typing import Any

import pytest

from gradflow.gradients.record import Entry, RecordWriter
from gradflow.launch.compose import compose
from lab.faults.designed.grid import cases
from lab.faults.designed.run import RESULTS, judge
from lab.faults.designed.table import confirmed
from lab.faults.peers import Step, answers

CASES = cases()


def test_no_architecture_and_no_activation_is_in_both_parts() -> None:
    seen: dict[str, set[tuple[str, ...]]] = {"tuning": set(), "held_out": set()}
    for case in CASES:
        model, depth, activation, *_ = case.base.split("-")
        seen[case.part] |= {("net", model, depth), ("activation", activation)}
    assert not seen["tuning"] & seen["held_out"]


def test_the_results_are_those_of_the_designed_runs() -> None:
    with RESULTS.open(newline="") as file:
        written = {(row["name"], row["part"], row["label"]) for row in csv.DictReader(file)}
    assert written == {(case.name, case.part, case.label) for case in CASES}


def test_no_run_of_the_held_out_part_has_a_seed_of_the_tuning_part() -> None:
    seeds: dict[str, set[str]] = {"tuning": set(), "held_out": set()}
    for case in CASES:
        seed = next(word for word in case.overrides if word.startswith("seed="))
        seeds[case.part].add(seed)
    assert not seeds["tuning"] & seeds["held_out"]


@pytest.mark.parametrize(("lost", "kind"), [(0.01, "healthy"), (0.0, "untrained")])
def test_a_run_is_judged_from_its_record_and_keeps_its_outcome(
    tmp_path: Path, lost: float, kind: str
) -> None:
    writer = RecordWriter(tmp_path, 0)
    for step in range(0, 150, 10):
        writer.append(step, "gradient", [Entry("w", 0, 4)], {})
        logits = {"norm": [1.0], "rms": [1.0], "max": [1.0], "units": [10]}
        writer.append(step, "pre_activation", [Entry("logits", 0, 80)], logits)
        mean, batches = (1 - lost) * math.log(10), 10 if step else 1
        writer.append(step, "mean_loss", [Entry("loss", 0, batches)], {"max": [mean]})
    writer.flush()
    (tmp_path / "outcome.json").write_text(json.dumps({"accuracy": 0.2, "BTTackler": "dead"}))
    case = next(case for case in CASES if case.label == "healthy")
    line = judge(case, tmp_path)
    assert (line["name"], line["label"], line["accuracy"]) == (case.name, "healthy", 0.2)
    assert (line["verdict"], line["by_step_20"], line["BTTackler"]) == (kind, "healthy", "dead")


def test_runs_have_names_of_their_own_and_every_fault_its_healthy_net() -> None:
    assert len(CASES) >= 200
    assert len({case.name for case in CASES}) == len(CASES)
    healthy = {case.base for case in CASES if case.label == "healthy"}
    assert {case.base for case in CASES} == healthy


def test_a_fault_differs_from_its_healthy_net_by_what_was_done_to_it_alone() -> None:
    overrides = {case.base: case.overrides for case in CASES if case.label == "healthy"}
    for case in CASES:
        assert case.overrides[: len(overrides[case.base])] == overrides[case.base]
        assert (
            case.label == "healthy"
            or case.bias is not None
            or case.overrides != overrides[case.base]
        )


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES[::7], ids=lambda case: case.name)
def test_runs_compose(case: Any) -> None:
    compose(case.overrides)


def row(base: str, label: str, accuracy: float) -> dict[str, str]:
    return {"name": f"{base}-{label}", "base": base, "label": label, "accuracy": str(accuracy)}


def test_a_run_counts_only_if_it_and_its_counterfactual_confirm_the_label() -> None:
    rows = [
        row("a", "healthy", 0.3),
        row("a", "dead", 0.1),
        row("a", "vanishing", 0.2),  # it learned all the same
        row("b", "healthy", 0.1),  # it never learned, so that its fault proves nothing
        row("b", "dead", 0.1),
    ]
    assert [r["name"] for r in confirmed(rows)] == ["a-healthy", "a-dead"]


def step(**changes: Any) -> Step:
    values: dict[str, Any] = {
        "loss": 2.3,
        "finite": True,
        "mean": [1e-3, 1e-3],
        "median": [1e-3, 1e-3],
        "norm": [0.1, 0.1],
        "zeros": [0.0, 0.0],
        "inactive": [0.0, 0.0],
        "silent": [0.5, 0.5],
        "beyond_5": [0.0, 0.0],
        "beyond_own": [0.0, 0.0],
    }
    return Step(**(values | changes))


@pytest.mark.parametrize(
    ("changes", "tool", "word"),
    [
        ({"mean": [0.9e-7, 1.0]}, "SageMaker Debugger", "vanishing"),
        ({"mean": [1.1e-7, 1.0]}, "SageMaker Debugger", "healthy"),
        ({"finite": False}, "SageMaker Debugger", "exploding"),
        ({"inactive": [0.51, 0.0]}, "SageMaker Debugger", "dead"),
        ({"beyond_own": [0.51, 0.0]}, "SageMaker Debugger", "saturated"),
        ({"norm": [0.9e-4, 1.0]}, "AutoTrainer", "vanishing"),
        ({"norm": [1.1e-4, 1.0]}, "AutoTrainer", "healthy"),
        ({"norm": [71.0, 1.0]}, "AutoTrainer", "exploding"),
        ({"zeros": [0.7, 0.0]}, "AutoTrainer", "dead"),
        ({"silent": [0.7, 0.0]}, "DeepDiagnosis", "dead"),
        ({"beyond_5": [0.51, 0.0]}, "DeepDiagnosis", "saturated"),
        ({"median": [0.9e-5, 1.0]}, "BTTackler", "vanishing"),
        ({"norm": [0.9e-4, 1.0]}, "BTTackler", "vanishing"),
        ({"median": [1.1e4, 1.0]}, "BTTackler", "exploding"),
        ({"norm": [1100.0, 1.0]}, "BTTackler", "exploding"),
        ({"zeros": [0.51, 0.0]}, "BTTackler", "dead"),
    ],
)
def test_the_other_tools_rules_have_their_published_thresholds(
    changes: dict[str, Any], tool: str, word: str
) -> None:
    assert answers([step(), step(**changes), step(), step()], converged=False)[tool] == word


def test_a_healthy_net_is_healthy_for_all_tools() -> None:
    assert set(answers([step()] * 3, converged=False).values()) == {"healthy"}
