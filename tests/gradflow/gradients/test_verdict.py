"""The verdict on flows made by hand: each cause alone, and what comes first where there are two."""

import math
import re
import statistics
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flows import CHANCE, flow

from gradflow.gradients import verdict as verdict_module
from gradflow.gradients.flow import Flow
from gradflow.gradients.verdict import Verdict, diagnose


def run(**changes: Any) -> list[Flow]:
    """A run of 101 steps in which every step is the same."""
    return [flow(step, **changes) for step in range(0, 101, 10)]


def with_loss(flows: list[Flow], loss: Callable[[int], float]) -> list[Flow]:
    """The same run with another loss at each step, its batch's and the mean."""
    return [replace(f, loss=loss(f.step), mean_loss=loss(f.step)) for f in flows]


SHRINKS = [-10.0, -7.0, -4.0, -2.0]  # 6 decades over two layers


def worse(step: int) -> float:
    """A loss that rises by half and stays there, which is no blowing up."""
    return 1.5 * CHANCE if step else CHANCE


CAUSES: dict[str, dict[str, Any]] = {
    "vanishing": {"gradient": SHRINKS},
    "exploding": {"gradient": [0.0, -2.0, -4.0, -2.0]},
    "frozen": {"pre_activation": [0.0, -2.0, -4.0, -5.0]},
    "dead": {"dead": [0.0, 0.9, 0.2, math.nan]},
    "saturated": {"saturated": [0.0, 0.2, 0.9, math.nan]},
    "untrained": {},
}


REMEDIES = {
    key: [f"cure={key}", f"else={key}"] for key in (*CAUSES, "small_weights", "by_training")
}


@pytest.mark.parametrize("kind", CAUSES)
def test_each_cause_is_told_by_the_layers_that_show_it(kind: str) -> None:
    verdict = diagnose(run(**CAUSES[kind]), remedies=REMEDIES)
    assert verdict.kind == kind
    assert verdict.step == 100
    assert verdict.remedies == (f"cure={kind}", f"else={kind}")


@pytest.mark.parametrize(
    ("kind", "layer", "figure"),
    [
        ("vanishing", "first", "6.0 decades"),
        ("exploding", "first", "4.0 decades"),
        ("frozen", "third", "4.0 decades"),
        ("dead", "second", "90%"),
        ("saturated", "third", "90%"),
    ],
)
def test_the_evidence_names_the_layer_and_the_figure(kind: str, layer: str, figure: str) -> None:
    verdict = diagnose(run(**CAUSES[kind]))
    assert verdict.layer == layer
    assert figure in verdict.evidence


@pytest.mark.parametrize("kind", [kind for kind in CAUSES if kind != "untrained"])
def test_a_net_that_learns_is_healthy_whatever_its_layers_show(kind: str) -> None:
    learning = with_loss(run(**CAUSES[kind]), lambda step: CHANCE - 0.005 * step)
    assert diagnose(learning).kind == "healthy"


@pytest.mark.parametrize("kind", [kind for kind in CAUSES if kind != "untrained"])
def test_of_a_net_that_hardly_learns_the_cause_that_its_layers_show_is_told(kind: str) -> None:
    """Such as a plain net of 56 layers, whose loss falls by 1 % in 200 steps."""
    hardly = with_loss(run(**CAUSES[kind]), lambda step: CHANCE * (1 - 0.02 * step / 100))
    verdict = diagnose(hardly)
    assert verdict.kind == kind
    assert "the loss is 2.26" in verdict.evidence
    assert diagnose(with_loss(run(), lambda step: hardly[step // 10].loss or 0)).kind == "healthy"


@pytest.mark.parametrize("kind", [kind for kind in CAUSES if kind != "untrained"])
def test_between_hardly_learning_and_learning_neither_verdict_is_sure(kind: str) -> None:
    def at(gain: float) -> Verdict:
        return diagnose(with_loss(run(**CAUSES[kind]), lambda step: CHANCE * (1 - gain)))

    below, above = at(0.0299), at(0.0301)
    assert (below.kind, above.kind) == (kind, "healthy")
    assert below.confidence == above.confidence == pytest.approx(0.5, abs=0.01)
    assert at(0.01).confidence > below.confidence
    assert at(0.1).confidence > above.confidence


def test_a_net_that_learns_a_little_has_got_over_a_loss_that_blew_up() -> None:
    learning = with_loss(run(), lambda step: 6.0 if step == 10 else CHANCE * 0.98)
    assert diagnose(learning).kind == "healthy"
    assert diagnose(with_loss(learning, lambda s: 6.0 if s == 10 else CHANCE)).kind == "diverged"


def test_a_loss_that_falls_to_chance_and_no_further_is_not_learning() -> None:
    """What a net with large initial logits does: it learns to say nothing."""
    falling = with_loss(run(), lambda step: CHANCE + max(0.0, 3 - step / 10))
    assert diagnose(falling).kind == "untrained"


@pytest.mark.parametrize("kind", [kind for kind in CAUSES if kind != "untrained"])
def test_the_first_record_is_enough_for_a_warning(kind: str) -> None:
    assert diagnose([flow(**CAUSES[kind])]).kind == kind


def test_a_young_run_is_healthy_until_it_could_have_learned() -> None:
    assert diagnose([flow()]).kind == "healthy"
    assert diagnose([flow(0), flow(10)]).kind == "healthy"


def test_a_net_whose_layers_are_well_is_given_time_to_learn() -> None:
    assert diagnose(run()[:-1]).kind == "healthy"
    assert diagnose(run()[:-1]).confidence == 0.5
    assert diagnose(run()).kind == "untrained"


def test_a_loss_that_is_not_finite_is_divergence_at_its_step_and_layer() -> None:
    flows = [flow(0), flow(10, loss=math.nan, pre_activation=[math.nan] * 4)]
    verdict = diagnose(flows, (7, "second"))
    assert verdict.kind == "diverged"
    assert verdict.layer == "second"
    assert "step 7" in verdict.evidence


def test_divergence_of_a_net_whose_gradient_exploded_from_the_start_is_exploding() -> None:
    start = flow(**CAUSES["exploding"])
    assert diagnose([start, flow(10, loss=math.inf)], (7, "second")).kind == "exploding"


def test_a_first_step_that_is_not_finite_is_divergence() -> None:
    nan = flow(loss=math.nan, pre_activation=[math.nan] * 4, gradient=[math.nan] * 4)
    assert diagnose([nan], (0, "first")).kind == "diverged"


def test_steps_as_large_as_the_weights_are_divergence_without_a_nan() -> None:
    flows = [replace(f, update_to_weight=np.full(3, -0.5)) if f.step < 20 else f for f in run()]
    assert diagnose(with_loss(flows, worse)).kind == "diverged"


def test_large_steps_that_do_the_loss_no_harm_are_no_divergence() -> None:
    """Adam moves small weights by much of their size, and a weight that is 0 by all of it."""
    flows = [replace(f, update_to_weight=np.full(3, -0.5)) for f in run()[:3]]
    assert diagnose(flows).kind == "healthy"
    from_zero = [replace(f, update_to_weight=np.full(3, np.inf)) for f in run()[:3]]
    assert diagnose(with_loss(from_zero, worse)).kind == "healthy"


@pytest.mark.parametrize(("step", "kind"), [(20, "diverged"), (30, "untrained")])
def test_large_steps_are_divergence_among_the_first_20_alone(step: int, kind: str) -> None:
    """A net that has been trained for a while may take them, as at a warm-up's end."""
    large = [replace(f, update_to_weight=np.full(3, -0.5)) if f.step == step else f for f in run()]
    assert diagnose(with_loss(large, worse)).kind == kind


def test_large_steps_of_one_weight_alone_are_no_divergence() -> None:
    """The head's first step often is one, and survived."""
    early = [flow(step, update_to_weight=[-0.3, -3.0, -3.0]) for step in (0, 10)]
    assert diagnose(early).kind == "healthy"


def test_a_loss_that_blew_up_between_two_records_is_divergence() -> None:
    flows = [replace(f, mean_loss=100.0) if f.step == 30 else f for f in run()]
    assert diagnose(flows).kind == "diverged"


def test_a_loss_that_blew_up_is_divergence_though_it_came_back() -> None:
    flows = with_loss(run(), lambda step: 100.0 if step == 30 else CHANCE)
    assert diagnose(flows).kind == "diverged"


@pytest.mark.parametrize(("worst", "kind"), [(19.0, "untrained"), (21.0, "diverged")])
def test_a_loss_has_blown_up_above_twice_the_first_where_that_is_above_chance(
    worst: float, kind: str
) -> None:
    """Large initial logits make a first loss far above chance, from which it wavers and falls."""
    flows = with_loss(run(), lambda step: {0: 10.0, 10: worst}.get(step, CHANCE))
    assert diagnose(flows).kind == kind


def test_units_that_die_later_are_dead_but_what_was_so_at_the_start_comes_first() -> None:
    dying = [replace(f, dead=np.array([0, f.step / 90, 0, np.nan])) for f in run()]
    assert diagnose(dying).kind == "dead"
    frozen = [replace(f, pre_activation=np.array([0, -2, -4, -5.0])) for f in dying]
    assert diagnose(frozen).kind == "frozen"


@pytest.mark.parametrize("kind", ["dead", "saturated"])
def test_against_units_that_training_killed_there_is_advice_of_its_own(kind: str) -> None:
    worse = [replace(f, **{kind: np.array([0, f.step / 90, 0, np.nan])}) for f in run()]
    assert diagnose(worse).kind == kind
    assert diagnose(worse, remedies=REMEDIES).remedies[0] == "cure=by_training"
    assert diagnose(run(**CAUSES[kind]), remedies=REMEDIES).remedies[0] == f"cure={kind}"


def test_units_that_are_silent_because_the_signal_fades_are_not_the_cause() -> None:
    """ReLU with PyTorch's default initialization: the biases decide over more than half of them."""
    half = {"dead": [0.0, 0.4, 0.62, math.nan], "gradient": SHRINKS}
    assert diagnose(run(**half)).kind == "vanishing"


def test_a_skipped_step_of_the_loss_scaler_is_no_divergence() -> None:
    """fp16: gradients overflow while the loss is finite, and the scaler skips that step."""
    flows = [replace(f, non_finite=1.0) if f.step == 0 else f for f in run(loss=1.5)]
    assert diagnose(flows).kind == "healthy"


INF = math.inf
ZEROS: dict[str, tuple[dict[str, Any], str, str]] = {
    # What is 0, the verdict at the first record, and its words.
    "dL/dz from the middle on": (
        {"gradient": [-INF, -INF, -4.0, -2.0]},
        "vanishing",
        "dL/dz is exactly 0 in first",
    ),
    "dL/dz in between, where it shrinks": (
        {"gradient": [-7.0, -INF, -4.0, -2.0]},
        "vanishing",
        "dL/dz shrinks by 3.0 decades from third back to first, and is exactly 0 in second",
    ),
    "dL/dz in between, where it grows": (
        {"gradient": [-1.0, -INF, -4.0, -2.0]},
        "exploding",
        "dL/dz grows by 3.0 decades from third back to first, and is exactly 0 in second",
    ),
    "dL/dz of the last alone": (
        {"gradient": [-4.0, -4.0, -INF, -2.0]},
        "healthy",
        "dL/dz is exactly 0 in third, so that its change cannot be judged",
    ),
    "dL/dz of all but the logits": (  # as of a last layer that begins at 0
        {"gradient": [-INF, -INF, -INF, -2.0]},
        "healthy",
        "dL/dz is exactly 0 in third, so that its change cannot be judged",
    ),
    "z from the middle on": (
        {"pre_activation": [0.0, -INF, -INF, -INF]},
        "frozen",
        "z is exactly 0 in second, so that nothing of the image is left",
    ),
    "z up to the middle": (
        {"pre_activation": [-INF, -INF, -2.0, -2.0]},
        "frozen",
        "z is exactly 0 in first, so that nothing of the image is left",
    ),
    "z everywhere": (
        {"pre_activation": [-INF, -INF, -INF, -INF], "gradient": [-INF, -INF, -INF, -2.0]},
        "frozen",
        "z is exactly 0 in first, so that nothing of the image is left",
    ),
}


@pytest.mark.parametrize("zeros", ZEROS)
@pytest.mark.filterwarnings("error")
def test_what_is_exactly_0_is_told_in_words_and_no_infinity_is(zeros: str) -> None:
    changes, kind, words = ZEROS[zeros]
    first = diagnose([flow(step, **changes) for step in range(6)])
    assert (first.kind, first.evidence) == (kind, words)
    last = diagnose(run(**changes))
    assert last.kind == (kind if kind != "healthy" else "untrained")
    assert words in last.evidence
    hardly = diagnose(with_loss(run(**changes), lambda step: CHANCE * (1 - 0.02 * step / 100)))
    for verdict in (first, last, hardly):
        assert not re.search(r"\b(inf|nan)", verdict.evidence)
        assert 0.5 <= verdict.confidence <= 1


def test_confidence_grows_with_the_distance_from_the_threshold() -> None:
    near = diagnose(run(gradient=[-6.2, -5.0, -4.0, -2.0]))
    far = diagnose(run(gradient=[-16.0, -10.0, -4.0, -2.0]))
    assert near.kind == far.kind == "vanishing"
    assert 0.5 <= near.confidence < 0.7
    assert far.confidence > 0.87


THRESHOLDS: dict[str, tuple[Callable[[float], list[Flow]], float]] = {
    # A run by how far beyond its threshold it is; and how far beyond it is to be surer.
    "vanishing": (lambda x: run(gradient=[-6.0 - 2 * x, -5.0, -4.0, -2.0]), 1.0),
    "exploding": (lambda x: run(gradient=[-2.0 + 2 * x, -3.0, -4.0, -2.0]), 1.0),
    "exploding z": (lambda x: run(pre_activation=[0.0, 1.0, 2.0 + 2 * x, 2.0]), 1.0),
    "frozen": (lambda x: run(pre_activation=[0.0, -1.0, -2.0 - 2 * x, -2.0]), 1.0),
    "dead": (lambda x: run(dead=[0.0, 0.75 + 0.75 * x, 0.0, math.nan]), 0.3),
    "saturated": (lambda x: run(saturated=[0.0, 0.75 + 0.75 * x, 0.0, math.nan]), 0.3),
    "blown up, above chance": (lambda x: goes_up(1.0, 2 * CHANCE * (1 + x)), 1.0),
    "blown up, above its first": (lambda x: goes_up(20.0, 40.0 * (1 + x)), 1.0),
    "steps": (
        lambda x: with_loss(run(update_to_weight=[math.log10(0.075) + x] * 3), worse),
        1.0,
    ),
}


def goes_up(first: float, worst: float) -> list[Flow]:
    """A run whose loss begins at `first`, goes up to `worst` and ends at the chance level."""
    return with_loss(run(), lambda step: {0: first, 10: worst}.get(step, CHANCE))


@pytest.mark.parametrize("rule", THRESHOLDS)
def test_a_verdict_is_as_sure_as_a_coin_at_its_threshold_and_surer_beyond(rule: str) -> None:
    flows, far = THRESHOLDS[rule]
    assert diagnose(flows(-0.01)).kind == "untrained"
    near = diagnose(flows(0.01))
    assert near.kind == diagnose(flows(far)).kind
    assert near.kind in (rule.split()[0], "diverged")
    assert 0.5 <= near.confidence <= 0.52
    assert diagnose(flows(far)).confidence == pytest.approx(
        0.9 - 0.4 * math.exp(-2 * far), abs=0.006
    )


def test_between_divergence_and_getting_over_it_neither_verdict_is_sure() -> None:
    def at(gain: float) -> Verdict:
        return diagnose(with_loss(run(), lambda s: 100.0 if s == 10 else CHANCE * (1 - gain)))

    below, above = at(0.00199), at(0.00201)
    assert (below.kind, above.kind) == ("diverged", "healthy")
    assert below.confidence == above.confidence == pytest.approx(0.5, abs=0.01)
    assert at(-1.0).confidence > 0.8


def test_a_loss_that_was_0_at_first_and_is_not_later_has_blown_up() -> None:
    flows = with_loss(run(outputs=1), lambda step: float(step == 10))
    assert diagnose(flows).kind == "diverged"


def test_nothing_is_said_of_nothing() -> None:
    with pytest.raises(ValueError, match=r"^flows=\[\]: there must be at least one record$"):
        diagnose([])


def test_nothing_is_recommended_unless_it_is_given() -> None:
    assert diagnose(run(**CAUSES["vanishing"])).remedies == ()


def test_where_the_signal_fades_too_there_is_advice_of_its_own() -> None:
    """tanh with weights too small, against a sigmoid, whose z is of one size in all layers."""
    with_z = run(gradient=SHRINKS, pre_activation=[0.0, -0.5, -1.0, -1.0])
    fading, steady = (
        diagnose(flows, remedies=REMEDIES) for flows in (with_z, run(gradient=SHRINKS))
    )
    assert fading.kind == steady.kind == "vanishing"
    assert fading.remedies[0] == "cure=small_weights"
    assert steady.remedies[0] == "cure=vanishing"


def test_learning_is_judged_by_the_mean_loss_and_not_by_single_batches() -> None:
    noisy = [replace(f, loss=CHANCE - 0.5, mean_loss=CHANCE) for f in run()]
    assert diagnose(noisy).kind == "untrained"
    learning = [replace(f, loss=CHANCE + 0.5, mean_loss=CHANCE - 0.1) for f in run()]
    assert diagnose(learning).kind == "healthy"


@pytest.mark.parametrize(("every", "steps"), [(1, 100), (10, 100), (100, 200)])
def test_learning_is_seen_in_as_many_batches_however_often_they_are_recorded(
    every: int, steps: int
) -> None:
    """25 batches back from the latest; what the loss was earlier does not count."""

    def learned_until(step: int) -> list[Flow]:
        flows = [flow(s, batches=every if s else 1) for s in range(0, steps + 1, every)]
        return with_loss(flows, lambda s: CHANCE - 0.1 * (s <= step))

    assert diagnose(learned_until(steps)).kind == "healthy"
    assert diagnose(learned_until(0)).kind == "untrained"


def few(layers: int, **changes: Any) -> list[Flow]:
    """A run of which only that many layers are measured, the last of them the logits."""
    arrays = ("layers", "pre_activation", "gradient", "dead", "saturated")
    kept = {name: list(getattr(flow(), name))[4 - layers :] for name in arrays}
    return run(**(kept | {"outputs": 10 if layers else 0} | changes))


@pytest.mark.parametrize("layers", [0, 1, 2])
def test_of_too_few_layers_learning_is_judged_by_the_loss(layers: int) -> None:
    learning = with_loss(few(layers), lambda step: CHANCE - 0.005 * step)
    assert diagnose(learning).kind == "healthy"
    assert diagnose(learning).confidence > 0.8
    stuck = diagnose(few(layers))
    assert stuck.kind == "untrained"
    assert "measured, too few to tell" in stuck.evidence


@pytest.mark.parametrize("layers", [0, 1, 2])
def test_of_too_few_layers_a_young_run_says_that_they_are(layers: int) -> None:
    young = diagnose(few(layers)[:1])
    assert (young.kind, young.confidence) == ("healthy", 0.5)
    assert "measured, too few to tell" in young.evidence
    known = diagnose(few(layers, loss=math.nan)[:1], (0, "loss"))
    assert known.kind == "diverged"


def test_units_of_two_layers_are_judged() -> None:
    assert diagnose(few(2, dead=[0.9, math.nan])).kind == "dead"
    assert diagnose(few(2, saturated=[0.9, math.nan])).kind == "saturated"


def test_without_layers_the_loss_is_held_against_the_first() -> None:
    learning = diagnose(with_loss(few(0), lambda step: 7.0 - 0.05 * step))
    assert learning.kind == "healthy"
    assert "at first 7" in learning.evidence
    wavering = with_loss(few(0), lambda step: 7.0 if step == 0 else 6.9)  # one batch's chance
    assert diagnose(wavering).kind == "untrained"


def test_pre_activations_that_are_never_finite_leave_the_loss_to_judge_by() -> None:
    """As of a mask of -inf, which is no divergence."""
    masked = {"pre_activation": [0.0, math.nan, 0.0, 0.0]}
    assert diagnose(run(**masked, loss=1.5)).kind == "healthy"
    stuck = diagnose(run(**masked))
    assert stuck.kind == "untrained"
    assert "not finite in every layer" in stuck.evidence


def test_a_loss_that_is_not_known_is_neither_divergence_nor_learning() -> None:
    assert diagnose(run(loss=None)).kind == "healthy"
    assert diagnose(run(loss=None)).confidence == 0.5
    assert diagnose(run(loss=None, **CAUSES["vanishing"])).kind == "vanishing"
    assert diagnose(run(loss=0.0, outputs=1)).kind == "untrained"  # no chance level to gain on


def test_a_verdict_is_read_as_it_was_written(tmp_path: Path) -> None:
    verdict = diagnose(run(**CAUSES["vanishing"]))
    verdict.write(tmp_path)
    assert Verdict.read(tmp_path) == verdict
    assert [path.name for path in tmp_path.iterdir()] == ["verdict.json"]


def test_without_evidence_for_a_chance_loss_learning_is_judged_by_the_fall_of_the_loss() -> None:
    """A loss of another kind, such as an autoencoder's, whose outputs are not classes."""
    untold = [replace(f, chance_loss=None) for f in run(**CAUSES["vanishing"])]
    stuck = with_loss(untold, lambda step: 0.07)
    verdict = diagnose(stuck)
    assert verdict.kind == "vanishing"
    assert "chance" not in verdict.evidence
    falls = with_loss(untold, lambda step: 0.07 - 0.0006 * step)  # by more than half
    assert diagnose(falls).kind == "healthy"
    well = [replace(f, gradient=np.full(4, -4.0)) for f in falls]
    slower = with_loss(well, lambda step: 0.07 - 0.0001 * step)
    assert diagnose(slower).kind == "healthy"  # which against a cause in the layers is too little
    assert diagnose([replace(f, gradient=np.array(SHRINKS)) for f in slower]).kind == "vanishing"


def test_a_fall_within_the_noise_of_the_batches_is_none() -> None:
    def noisy(deviation: float) -> list[Flow]:
        untold = [replace(f, chance_loss=None, loss_deviation=deviation) for f in run(outputs=0)]
        return with_loss(untold, lambda step: 1.0 - 0.002 * step)

    assert diagnose(noisy(0.01)).kind == "healthy"
    assert diagnose(noisy(1.0)).kind == "untrained"


def test_a_verdict_changes_only_after_records_that_agree() -> None:
    """Units that flicker between dead and alive from record to record."""

    def dead(step: int) -> Flow:
        return flow(step, dead=[0.0, 0.9, 0.0, math.nan])

    flickering = [dead(step) if step % 2 else flow(step) for step in range(1, 12)]
    kinds = [diagnose(flickering[:i]).kind for i in range(1, 12)]
    assert set(kinds[1:]) == {kinds[0]}
    steady = [flow(0), *map(dead, (1, 2, 3))]
    assert [diagnose(steady[:i]).kind for i in (2, 3, 4)] == ["healthy", "healthy", "dead"]
    apart = [flow(0), dead(100), dead(112)]
    assert [diagnose(apart[:i]).kind for i in (2, 3)] == ["healthy", "dead"]


def test_a_loss_that_is_not_finite_waits_for_no_other_record() -> None:
    assert diagnose([flow(0), flow(1, loss=math.nan)], (1, "loss")).kind == "diverged"


def test_two_accidents_are_both_named() -> None:
    """A vanishing gradient, and a rate far too high on top of it."""
    flows = with_loss(run(gradient=SHRINKS), lambda step: 100.0 if step > 20 else CHANCE)
    verdict = diagnose(flows, remedies=REMEDIES | {"diverged": ["lower"]})
    assert verdict.kind == "vanishing"
    assert "besides, the loss goes up to 100" in verdict.evidence
    assert verdict.remedies == ("cure=vanishing", "else=vanishing", "lower")


def test_a_first_record_without_layers_does_not_blind_the_run() -> None:
    """training_step skipped the first batch."""
    skipped = flow(0, layers=[], loss=None, mean_loss=None, batches=0)
    none = {name: np.zeros(0) for name in ("pre_activation", "gradient", "dead", "saturated")}
    flows = [replace(skipped, **none), *run(gradient=SHRINKS)[1:]]
    assert diagnose(flows).kind == "vanishing"


def test_a_run_that_begins_at_a_late_step_is_given_the_same_time() -> None:
    """A new record of weights that were trained before."""
    late = [replace(f, step=f.step + 5000) for f in run()]
    assert diagnose(late[:-1]).kind == "healthy"
    assert diagnose(late).kind == "untrained"


def test_branches_that_begin_at_zero_are_judged_once_they_are_not() -> None:
    zero = flow(0, gradient=[-math.inf, -math.inf, -4.0, -2.0])
    opened = [zero, *(flow(step, gradient=[-4.2, -4.2, -4.0, -2.0]) for step in (1, 2, 3, 4))]
    assert {diagnose(opened[:i]).kind for i in range(1, 6)} == {"healthy"}


def test_a_metric_that_rises_is_learning_whatever_the_loss_says() -> None:
    """Accuracy may rise while the mean loss lies above chance: some errors are very confident."""
    high = with_loss(run(), lambda step: 1.2 * CHANCE)
    rising = [replace(f, metric=0.1 + 0.002 * f.step) for f in high]
    scattered = [replace(f, metric=0.1 + 0.01 * (f.step % 30)) for f in high]
    assert diagnose(high).kind == "untrained"
    assert diagnose(rising).kind == "healthy"
    assert diagnose(scattered).kind == "untrained"


def test_a_few_values_of_a_metric_that_happen_to_rise_are_no_learning() -> None:
    """The accuracies are those of a sigmoid net that never got beyond chance, 10 %."""
    seen = (0.0906, 0.0805, 0.0953, 0.1133, 0.1148, 0.1094, 0.1078)
    flows = run(gradient=SHRINKS)
    places = [round(6 * i / (len(flows) - 1)) for i in range(len(flows))]
    assert set(places) == set(range(7))
    shown = [replace(f, metric=seen[place]) for f, place in zip(flows, places, strict=True)]
    assert diagnose(shown).kind == "vanishing"


def test_layers_that_show_a_cause_are_outweighed_by_a_metric_that_rises_by_half_alone() -> None:
    flows = run(gradient=SHRINKS)
    for last, kind in ((1.3, "vanishing"), (1.7, "healthy")):
        slope = (last - 1) / flows[-1].step / 0.66  # between the means of the outer thirds
        rising = [replace(f, metric=0.1 * (1 + slope * f.step)) for f in flows]
        assert diagnose(rising).kind == kind


@pytest.mark.parametrize(("hits", "kind"), [(0.4, "healthy"), (0.25, "untrained")])
def test_accuracy_beyond_the_largest_class_is_learning(hits: float, kind: str) -> None:
    """In batches where a quarter of the images are of one class."""
    high = with_loss([flow(step) for step in range(0, 131, 10)], lambda step: 1.2 * CHANCE)
    flows = [
        replace(f, hits=hits + 0.03 * (-1) ** i, largest_class=0.25) for i, f in enumerate(high)
    ]
    assert diagnose(flows).kind == kind


def test_a_loss_far_above_chance_from_the_start_is_an_exploding_signal() -> None:
    high = with_loss(run(), lambda step: 1e5 - 100 * step)
    large = [replace(f, pre_activation=np.array([0.0, 0.0, 0.0, 4.0])) for f in high]
    verdict = diagnose(large)
    assert (verdict.kind, "chance 2.3" in verdict.evidence) == ("exploding", True)
    assert diagnose(high).kind == "untrained"  # it is the targets that are far away


def test_accuracy_does_not_excuse_a_loss_far_above_chance() -> None:
    flows = [flow(step, hits=0.4 + 0.01 * (step % 3), largest_class=0.1) for step in range(150)]
    assert diagnose(with_loss(flows, lambda step: 1.5 * CHANCE)).kind == "healthy"
    assert diagnose(with_loss(flows, lambda step: 2.5 * CHANCE)).kind != "healthy"


@pytest.mark.parametrize(("first", "known"), [(2.3, True), (2.6, True), (2.7, False), (1.9, False)])
def test_the_logarithm_of_the_outputs_is_chance_if_the_first_loss_lies_there(
    first: float, known: bool
) -> None:
    untold = [replace(f, chance_loss=None) for f in run()]
    evidence = diagnose(with_loss(untold, lambda step: first if step == 0 else CHANCE)).evidence
    assert ("chance 2.303" in evidence) is known
    assert (f"at first {first}" in evidence) is not known


def test_a_negative_loss_that_falls_is_learned_and_one_that_rises_blows_up() -> None:
    untold = [replace(f, chance_loss=None) for f in run()]
    assert diagnose(with_loss(untold, lambda step: -1 - 0.01 * step)).kind == "healthy"
    assert diagnose(with_loss(untold, lambda step: -1.0)).kind == "untrained"
    assert diagnose(with_loss(untold, lambda step: -1 + 0.001 * step)).kind == "untrained"
    assert diagnose(with_loss(untold, lambda step: -1 + 0.05 * step)).kind == "diverged"


def test_a_loss_that_is_bad_before_the_first_step_is_no_fault_of_training() -> None:
    advice = {"diverged": ["clip"], "exploding": ["init"], "at_start": []}
    steady = flow(loss=math.nan, pre_activation=[0.0, 0.1, math.nan, math.nan])
    verdict = diagnose([steady], (0, "third"), advice)
    assert (verdict.kind, verdict.layer, verdict.remedies) == ("diverged", "third", ())
    assert "before any weight has changed" in verdict.evidence
    growing = flow(loss=math.nan, pre_activation=[0.0, 19.0, math.nan, math.nan])
    verdict = diagnose([growing], (0, "third"), advice)
    assert (verdict.kind, verdict.layer, verdict.remedies) == ("exploding", "third", ("init",))
    assert "z grows by 19.0 decades" in verdict.evidence
    assert diagnose([flow(), steady], (10, "third"), advice).remedies == ("clip",)


def test_records_closer_than_the_schedule_are_judged_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At most 87 judgements in 64,000 steps, over all batches of the records in between."""
    judged: list[list[Flow]] = []
    real = verdict_module._judge
    monkeypatch.setattr(
        verdict_module, "_judge", lambda flows, bad: judged.append(list(flows)) or real(flows, bad)
    )
    every = [flow(step, batches=1, loss=2.0 + 0.01 * (step % 7)) for step in range(2000)]
    diagnose(every)
    assert len(judged) == 58  # 57 of the schedule, and the last
    known = judged[-1]
    assert sum(f.batches for f in known) == 2000
    mean = sum((f.mean_loss or 0) * f.batches for f in known) / 2000
    assert mean == pytest.approx(statistics.fmean(f.loss or 0 for f in every))
    window = [f.loss or 0 for f in every if known[-3].step < f.step <= known[-2].step]
    assert known[-2].loss_deviation == pytest.approx(statistics.pstdev(window))
