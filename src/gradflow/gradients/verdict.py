"""The verdict: what a run's gradients do, the evidence for it, and the overrides to try.

`diagnose` computes it from the record alone, with two questions. First, did the loss become useless
(diverged, exploding), or does the net learn (healthy)? Second, if neither, or hardly: which known
cause do its layers show, or do they look healthy (untrained)? Early in a run only the second
question is asked, since learning does not show yet, and a net with healthy layers is given time.

The fault suite, scripts/lab/fault_suite.py, measures how often the verdict is right. This file
knows flows, and neither torch nor Hydra; the overrides are only text for the user.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal, cast

import numpy as np
import polars as pl

from gradflow.gradients.atomic import write_text
from gradflow.gradients.flow import Floats, Flow, read_flows
from gradflow.gradients.record import first_non_finite

FILE = "verdict.json"
Kind = Literal[
    "healthy", "vanishing", "exploding", "frozen", "dead", "saturated", "diverged", "untrained"
]

# Thresholds between healthy and sick nets of the fault suite, set on its tuning part alone. Only
# _GAIN_OVER_FIRST, _NEAR_CHANCE and _MIN_LAYERS are not: the suite measures all layers of its nets,
# and its task says the chance loss.
_DECADES = 2.0  # of dL/dz or z, between the first and the last nonlinearity
_Z_DECADES = 2.0  # decades that z may lose from the first to the last nonlinearity
_SMALL_WEIGHTS = 0.6  # decades of z lost, above which small weights are taken as the cause
_BAD_UNITS = 0.75  # share of a layer's units that are dead, or saturated
_GAIN = 0.002  # share of the chance loss that a net must gain to have learned anything
_CLEAR_GAIN = 0.03  # the same, if its layers show a cause: with less it hardly learns
_GAIN_OVER_FIRST = 0.05  # share of the first loss: the same, if no logits tell the chance loss
_LARGE_STEP = 0.075  # relative change of half of the weights, which erases their initialization
_BLOWN_UP = 2.0  # times the chance loss: a higher loss is worse than guessing
_NEAR_CHANCE = 0.15  # share of log(outputs) by which a first loss may miss it
_EARLY = 20  # steps in which a run is judged by its layers alone
_PATIENCE = 100  # steps that a net with healthy layers is given to learn anything
_MIN_BATCHES = 25  # that the present loss is averaged over
_MIN_LAYERS = 3  # with the logits: fewer cannot show shrinking or growing

# What to try, most promising first, by kind of verdict: overrides, or any text for the user. Three
# more keys replace a kind's. `at_start` applies if the loss is non-finite before the first step,
# where clipping or a lower learning rate cannot help. `small_weights` applies if z shrinks along
# with the gradient, since weights that are too small cause both. `by_training` applies if units
# were alive at the start, so that the optimizer's steps killed or saturated them.
Remedies = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Verdict:
    """The verdict on a run at one step."""

    kind: Kind
    evidence: str  # one sentence, with its figures
    confidence: float  # 0.5 at a threshold, towards 1 far from it
    step: int  # the latest one that it is based on
    layer: str | None  # that shows it most
    remedies: tuple[str, ...]  # what to try, the most promising first

    def __str__(self) -> str:
        """Return it as one line."""
        return f"{self.kind}: {self.evidence}"

    def write(self, folder: Path) -> None:
        """Write `folder`/verdict.json, whole or not at all."""
        write_text(folder / FILE, json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Verdict | None:
        """Read `folder`/verdict.json; None if it is missing or damaged."""
        try:
            values = json.loads((folder / FILE).read_text())
            return cls(**(values | {"remedies": tuple(values["remedies"])}))
        except (OSError, ValueError, TypeError, KeyError):
            return None


def diagnose_record(record: pl.DataFrame | pl.LazyFrame, until: int | None = None) -> Verdict:
    """Diagnose a run from its record (see `read_gradients`), up to step `until` if it is given.

    Raises:
        ValueError: if there is no record.
    """
    if until is not None:
        record = record.filter(pl.col("step") <= until)
    return diagnose(read_flows(record), first_non_finite(record))


def diagnose(
    flows: Sequence[Flow],
    first_non_finite: tuple[int, str] | None = None,
    remedies: Remedies | None = None,
) -> Verdict:
    """Diagnose a run from the flows of all its records so far.

    `first_non_finite` is the step and the layer of the record's `non_finite` row, if it has one.
    `remedies` are what the verdict may recommend.

    Raises:
        ValueError: if there is no record.
    """
    verdict, remedy_key = _judge(flows, first_non_finite)
    return replace(verdict, remedies=tuple((remedies or {}).get(remedy_key, ())))


def _judge(flows: Sequence[Flow], first_non_finite: tuple[int, str] | None) -> tuple[Verdict, str]:
    """Return the verdict without remedies, and its key of `Remedies`."""
    if not flows:
        raise ValueError("flows=[]: there must be at least one record")
    step = flows[-1].step
    finite = [flow for flow in flows if flow.is_finite]
    seen = finite or flows
    start, now = seen[0], seen[-1]  # the first shows what initialization alone does
    latest = flows[-1].loss
    if first_non_finite is None and latest is not None and not math.isfinite(latest):
        first_non_finite = (step, "loss")
    if first_non_finite is not None:
        bad_step, where = first_non_finite
        if bad_step == 0:
            return _judge_bad_start(flows[0], where, step)
        text = f"the loss is not finite at step {bad_step}"
        text += f"; z is first so in {where}" if where != "loss" else ""
        if (grown := _exploding(start)) is not None:
            return _verdict(
                "exploding", f"{grown[0]}; {text}", grown[1], step, grown[2]
            ), "exploding"
        layer = None if where == "loss" else where
        return _verdict("diverged", text, math.inf, step, layer), "diverged"

    if start.optimizers > 1:
        return _judge_several(start, now, step)
    first = next((flow.known_loss[0] for flow in seen if flow.known_loss), math.inf)
    level = _chance(start, first)
    known = level is not None
    chance = first if level is None else level
    present, batches = _mean_of_latest(seen) or (chance, 0)
    young = step < _EARLY or batches < _MIN_BATCHES  # or no loss is known
    gained = (chance - present) / abs(chance) if chance else 0.0
    against = f"{present:.4g}, {'chance' if known else 'at first'} {chance:.4g}"
    least = _GAIN if known else _GAIN_OVER_FIRST
    learns = not young and gained > least
    vanishing = "small_weights" if _lost(start) > _SMALL_WEIGHTS else "vanishing"
    # A net that learns has recovered from any divergence in between.
    divergence = () if learns else (_blown_up(finite, chance), _steps_too_large(finite))
    # Causes in the initialization come first: those in training are their consequence.
    causes: tuple[tuple[Kind, _Cause | None, str], ...] = (
        ("dead", _units(start, start.dead, "dead"), "dead"),
        ("saturated", _units(start, start.saturated, "saturated"), "saturated"),
        ("frozen", _frozen(start), "frozen"),
        ("vanishing", _vanishing(start), vanishing),
        ("exploding", _exploding(start), "exploding"),
        *(("diverged", cause, "diverged") for cause in divergence),
        ("dead", _units(now, now.dead, "dead"), "by_training"),
        ("saturated", _units(now, now.saturated, "saturated"), "by_training"),
    )
    kind, cause, remedy_key = next((cause for cause in causes if cause[1]), ("healthy", None, ""))
    needed = least if cause is None else max(least, _CLEAR_GAIN)
    if not young and gained > needed:
        return _verdict("healthy", f"the loss is {against}", gained / needed - 1, step, None), ""
    if cause is not None:
        text, beyond, layer = cause
        if learns:
            text, beyond = f"{text}; the loss is {against}", min(beyond, 1 - gained / needed)
        elif cause in divergence and not young:  # a little more gain would make it healthy
            beyond = min(beyond, 1 - gained / least)
        return _verdict(kind, text, beyond, step, layer), remedy_key
    unjudged = _unjudged(start)
    if young or step < _PATIENCE:
        text = unjudged or "no layer shows anything amiss so far"
        return _verdict("healthy", text, 0.0, step, None), ""
    text = f"the loss stays at {against}, "
    text += f"and {unjudged}" if unjudged else "though no layer shows why"
    return _verdict("untrained", text, 1 - gained / needed, step, None), "untrained"


def _judge_bad_start(start: Flow, where: str, step: int) -> tuple[Verdict, str]:
    """Judge a loss that is non-finite before the first step: no training has caused it.

    The finite layers before the bad one tell whether the signal grew until it overflowed.
    """
    text = "the loss is not finite at step 0, before any weight has changed"
    text += f"; z is first so in {where}" if where != "loss" else ""
    layer = None if where == "loss" else where
    z = start.pre_activation[: start.layers.index(where)] if where in start.layers else np.zeros(0)
    z = z[np.isfinite(z)]
    grown = float(z[-1] - z[0]) if len(z) > 1 else 0.0
    if grown > _DECADES:
        text = f"z grows by {grown:.1f} decades up to {where}; {text}"
        return _verdict("exploding", text, (grown - _DECADES) / _DECADES, step, layer), "exploding"
    return _verdict("diverged", text, math.inf, step, layer), "at_start"


def _judge_several(start: Flow, now: Flow, step: int) -> tuple[Verdict, str]:
    """Judge the units alone: which loss and which layers belong to which optimizer is unknown."""
    for flow, remedy_key in ((start, ""), (now, "by_training")):
        for kind, shares in (("dead", flow.dead), ("saturated", flow.saturated)):
            if (cause := _units(flow, shares, kind)) is not None:
                text, beyond, layer = cause
                return _verdict(cast(Kind, kind), text, beyond, step, layer), remedy_key or kind
    text = "no layer has dead or saturated units; with several optimizers no more is judged"
    return _verdict("healthy", text, 0.0, step, None), ""


def _chance(start: Flow, first: float) -> float | None:
    """Return the loss of a net that knows nothing of its input; None without evidence for it.

    The module or the monitor's user says it. Otherwise it is the logarithm of the number of
    logits, if the first loss lies there: a loss may also be scaled, have penalties, or be none of
    classes at all.
    """
    if start.chance is None or start.chance_loss is not None:
        return start.chance
    return start.chance if abs(first / start.chance - 1) <= _NEAR_CHANCE else None


def _mean_of_latest(flows: Sequence[Flow]) -> tuple[float, int] | None:
    """Return the mean loss of the latest records with enough batches, and how many these are."""
    total, batches = 0.0, 0
    for flow in reversed(flows):
        if batches >= _MIN_BATCHES:
            break
        if flow.known_loss is not None:
            loss, count = flow.known_loss
            total, batches = total + loss * count, batches + count
    return (total / batches, batches) if batches else None


def _unjudged(start: Flow) -> str | None:
    """Return why the layers cannot show whether gradients vanish or explode; None if they can."""
    if not start.is_finite:
        return "z is not finite in every layer, so that gradients cannot be judged"
    if len(start.layers) >= _MIN_LAYERS:
        zero = np.isneginf(start.gradient[-2])
        reason = f"dL/dz is exactly 0 in {start.layers[-2]}, so that its change cannot be judged"
        return reason if zero else None
    which = "only some layers were" if len(start.layers) else "no layer was"
    return f"{which} measured, too few to tell whether gradients vanish or explode"


# What a rule finds: the evidence, how far beyond the threshold (0 at it, 1 at twice the threshold;
# in decades for a step), and the layer.
_Cause = tuple[str, float, str | None]


def _units(flow: Flow, shares: Floats, state: str) -> _Cause | None:
    """Judge the layer with the largest share of units in `state`: dead or saturated."""
    if np.isnan(shares).all():  # also if there are no layers
        return None
    worst = int(np.nanargmax(shares))
    share = float(shares[worst])
    if share <= _BAD_UNITS:
        return None
    text = f"{share:.0%} of the units of {flow.layers[worst]} are {state} at step {flow.step}"
    return text, (share - _BAD_UNITS) / _BAD_UNITS, flow.layers[worst]


def _frozen(start: Flow) -> _Cause | None:
    lost = _lost(start)
    if not lost > _Z_DECADES:
        return None
    layer, text = start.layers[-2], f"z shrinks by {lost:.1f} decades up to {start.layers[-2]}"
    if math.isinf(lost):
        layer = start.layers[0 if np.isneginf(start.pre_activation[0]) else -2]
        text = f"z is exactly 0 in {layer}"
    return f"{text}, so that nothing of the image is left", (lost - _Z_DECADES) / _Z_DECADES, layer


def _lost(start: Flow) -> float:
    """Return the decades that z loses up to the last nonlinearity; inf if z is exactly 0."""
    if len(start.layers) < _MIN_LAYERS:
        return math.nan
    first, last = float(start.pre_activation[0]), float(start.pre_activation[-2])
    return math.inf if -math.inf in (first, last) else first - last


def _vanishing(start: Flow) -> _Cause | None:
    decades = start.first_over_last
    if not decades < -_DECADES:
        return None
    return _change(start), (-decades - _DECADES) / _DECADES, start.layers[0]


def _exploding(start: Flow) -> _Cause | None:
    decades = start.first_over_last
    grown = -_lost(start)
    if _DECADES < decades < math.inf:  # inf: from exactly 0
        return _change(start), (decades - _DECADES) / _DECADES, start.layers[0]
    if grown > _DECADES:
        text = f"z grows by {grown:.1f} decades up to {start.layers[-2]}"
        return text, (grown - _DECADES) / _DECADES, start.layers[-2]
    return None


def _change(start: Flow) -> str:
    """Describe how dL/dz changes towards the input."""
    decades, slope = start.first_over_last, start.decades_per_layer
    if math.isinf(decades):
        return f"dL/dz is exactly 0 in {start.layers[0]}"
    word, sign = ("shrinks", -1) if decades < 0 else ("grows", 1)
    text = f"dL/dz {word} by {sign * decades:.1f} decades from {start.layers[-2]} back to "
    text += start.layers[0]
    if math.isinf(slope):
        zero = start.layers[int(np.isneginf(start.gradient).argmax())]
        return f"{text}, and is exactly 0 in {zero}"
    return f"{text}, {sign * slope:.2f} a layer"


def _blown_up(flows: Sequence[Flow], chance: float) -> _Cause | None:
    losses = [(flow.known_loss[0], flow.step) for flow in flows if flow.known_loss is not None]
    if len(losses) < 2:
        return None
    first, (worst, step) = losses[0][0], max(losses[1:])
    reference = max(chance, first)
    threshold = reference + (_BLOWN_UP - 1) * abs(reference)  # a loss may be negative
    if worst <= threshold:
        return None
    against = f"chance {chance:.3g}" if chance > first else f"at first {first:.3g}"
    text = f"the loss goes up to {worst:.3g} by step {step}, {against}"
    return text, (worst - threshold) / abs(threshold) if threshold else math.inf, None


def _steps_too_large(flows: Sequence[Flow]) -> _Cause | None:
    early = itertools.takewhile(lambda flow: flow.step <= _EARLY, flows)
    # The median, since a net survives a large step of one layer, such as the head.
    steps = [
        (float(np.nanmedian(flow.update_to_weight)), flow.step) for flow in early if _known(flow)
    ]
    if not steps:
        return None
    largest, step = max(steps)
    if 10**largest <= _LARGE_STEP:
        return None
    text = f"half of the weights change by {10**largest:.2g} of their size or more in step {step}"
    return text, largest - math.log10(_LARGE_STEP), None


def _known(flow: Flow) -> bool:
    return bool(np.isfinite(flow.update_to_weight).any())


def _verdict(kind: Kind, evidence: str, beyond: float, step: int, layer: str | None) -> Verdict:
    confidence = 1 - 0.5 * math.exp(-2 * max(beyond, 0))
    return Verdict(kind, evidence, round(confidence, 2), step, layer, ())
