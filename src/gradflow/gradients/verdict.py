"""The verdict: what a run's gradients do, the evidence for it, and the words to try against it.

It is taken from the record alone, by the rules of `diagnose`, in two questions. Did the loss become
useless (diverged, exploding), or does the net learn (healthy)? And if neither, or hardly: which of
the known causes do its layers show, or are they well (untrained)? While a run is young the second
question alone is asked, since learning cannot be seen yet, and a net whose layers are well is given
time.

How often it is right is measured by the fault suite, scripts/lab/fault_suite.py. It knows flows,
and neither torch nor Hydra; the overrides it names are words for a person.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl

from gradflow.gradients.flow import Floats, Flow, read_flows
from gradflow.gradients.record import first_non_finite
from gradflow.gradients.whole import write_text

FILE = "verdict.json"
Kind = Literal[
    "healthy", "vanishing", "exploding", "frozen", "dead", "saturated", "diverged", "untrained"
]

# Thresholds, set on the tuning part of the fault suite alone, between what its healthy nets show
# and what the sick ones do; but for _FALLEN and _PROFILE: all layers of its nets are measured.
_DECADES = 2.0  # between the first and the last nonlinearity
_SIGNAL = 2.0  # decades that z may lose from the first to the last nonlinearity
_FADING = 0.6  # decades of z whose loss points to small weights as the cause
_UNITS = 0.75  # share of a layer's units that are dead, or saturated
_LEARNED = 0.002  # of the chance level's loss: what a net must gain to have learned anything
_CLEARLY = 0.03  # the same, where its layers show a cause: with less it hardly learns
_FALLEN = 0.05  # of the first loss: the same where no logits tell the chance level
_STEP = 0.075  # of its size, for half of the weights: nothing is left of how they were initialized
_BLOWN_UP = 2.0  # times the chance level: a loss that far above it is worse than no answer at all
_EARLY = 20  # steps in which a run is judged by its layers alone
_PATIENCE = 100  # steps that a net whose layers are well is given to learn anything
_BATCHES = 25  # that the present loss is a mean over, at least
_PROFILE = 3  # layers, the logits among them, between which anything can shrink or grow

# What to try, most promising first, by kind of verdict; overrides, or whatever a user understands.
# Two more keys take the place of a kind's: `small_weights` where z shrinks along with the gradient,
# since weights that are too small then cause both, and `by_training` where units were alive at the
# start, since it was training's steps that killed or saturated them.
Remedies = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Verdict:
    """What is said of a run at one step."""

    kind: Kind
    evidence: str  # one sentence, with its figures
    confidence: float  # 0.5 at a threshold, towards 1 far from it
    step: int  # by which it was said
    layer: str | None  # where it shows most
    remedies: tuple[str, ...]  # what to try, the most promising first

    def __str__(self) -> str:
        """Give it as one line."""
        return f"{self.kind}: {self.evidence}"

    def write(self, folder: Path) -> None:
        """Write `folder`/verdict.json, whole or not at all."""
        write_text(folder / FILE, json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Verdict | None:
        """Read what `write` wrote; None where there is none, or it is damaged."""
        try:
            values = json.loads((folder / FILE).read_text())
            return cls(**(values | {"remedies": tuple(values["remedies"])}))
        except (OSError, ValueError, TypeError, KeyError):
            return None


def diagnose_record(record: pl.DataFrame | pl.LazyFrame, until: int | None = None) -> Verdict:
    """Say what `read_gradients` holds, or what it held when step `until` was the latest.

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
    """Say what the records of a run show, up to the latest of them.

    `first_non_finite` is the step and the layer of the record's `non_finite` row, if it has one.
    `remedies` are what the verdict may recommend. The loss is taken for a cross-entropy over as
    many classes as there are logits: chance is its logarithm.

    Raises:
        ValueError: if there is no record.
    """
    verdict, tried = _judge(flows, first_non_finite)
    return replace(verdict, remedies=tuple((remedies or {}).get(tried, ())))


def _judge(flows: Sequence[Flow], first_non_finite: tuple[int, str] | None) -> tuple[Verdict, str]:
    """Return the verdict, and under which key of `Remedies` stands what to try."""
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
        said = f"the loss is not finite at step {bad_step}"
        said += f"; z is first so in {where}" if where != "loss" else ""
        if (grown := _exploding(start)) is not None:
            return _verdict(
                "exploding", f"{grown[0]}; {said}", grown[1], step, grown[2]
            ), "exploding"
        layer = None if where == "loss" else where
        return _verdict("diverged", said, math.inf, step, layer), "diverged"

    known = start.outputs > 1
    first = next((flow.known_loss[0] for flow in seen if flow.known_loss), math.inf)
    chance = math.log(start.outputs) if known else first
    present, batches = _mean_of_latest(seen) or (chance, 0)
    young = step < _EARLY or batches < _BATCHES  # or the loss is not known at all
    gained = (chance - present) / chance if chance else 0.0
    against = f"{present:.4g}, {'chance' if known else 'at first'} {chance:.4g}"
    least = _LEARNED if known else _FALLEN
    learns = not young and gained > least
    vanishing = "small_weights" if _lost(start) > _FADING else "vanishing"
    # A net that learns has got over what its training did in between.
    divergence = () if learns else (_blown_up(finite, chance), _steps_too_large(finite))
    # What initialization did comes first: what training did is its consequence.
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
    kind, cause, tried = next((cause for cause in causes if cause[1]), ("healthy", None, ""))
    needed = least if cause is None else max(least, _CLEARLY)
    if not young and gained > needed:
        return _verdict("healthy", f"the loss is {against}", gained / needed - 1, step, None), ""
    if cause is not None:
        said, beyond, layer = cause
        if learns:
            said, beyond = f"{said}; the loss is {against}", min(beyond, 1 - gained / needed)
        elif cause in divergence and not young:  # with a little more gained it would be healthy
            beyond = min(beyond, 1 - gained / least)
        return _verdict(kind, said, beyond, step, layer), tried
    blind = _unjudged(start)
    if young or step < _PATIENCE:
        said = blind or "no layer shows anything amiss so far"
        return _verdict("healthy", said, 0.0, step, None), ""
    said = f"the loss stays at {against}, "
    said += f"and {blind}" if blind else "though no layer shows why"
    return _verdict("untrained", said, 1 - gained / needed, step, None), "untrained"


def _mean_of_latest(flows: Sequence[Flow]) -> tuple[float, int] | None:
    """Return the mean loss over the latest records that hold enough batches, and how many."""
    total, batches = 0.0, 0
    for flow in reversed(flows):
        if batches >= _BATCHES:
            break
        if flow.known_loss is not None:
            loss, of_loss = flow.known_loss
            total, batches = total + loss * of_loss, batches + of_loss
    return (total / batches, batches) if batches else None


def _unjudged(start: Flow) -> str | None:
    """Say why the layers cannot tell whether gradients vanish or explode, if they cannot."""
    if not start.is_finite:
        return "z is not finite in every layer, so that gradients cannot be judged"
    if len(start.layers) >= _PROFILE:
        zero = np.isneginf(start.gradient[-2])
        said = f"dL/dz is exactly 0 in {start.layers[-2]}, so that its change cannot be judged"
        return said if zero else None
    which = "only some layers were" if len(start.layers) else "no layer was"
    return f"{which} measured, too few to tell whether gradients vanish or explode"


# What a rule finds: the evidence, how far beyond its threshold (0 at it, 1 one threshold further;
# of a step in decades), and the layer.
_Cause = tuple[str, float, str | None]


def _units(flow: Flow, shares: Floats, are: str) -> _Cause | None:
    """Judge the layer that has the largest share of units that `are` dead, or saturated."""
    if np.isnan(shares).all():  # as of no layers at all
        return None
    worst = int(np.nanargmax(shares))
    share = float(shares[worst])
    if share <= _UNITS:
        return None
    said = f"{share:.0%} of the units of {flow.layers[worst]} are {are} at step {flow.step}"
    return said, (share - _UNITS) / _UNITS, flow.layers[worst]


def _frozen(start: Flow) -> _Cause | None:
    lost = _lost(start)
    if not lost > _SIGNAL:
        return None
    layer, said = start.layers[-2], f"z shrinks by {lost:.1f} decades up to {start.layers[-2]}"
    if math.isinf(lost):
        layer = start.layers[0 if np.isneginf(start.pre_activation[0]) else -2]
        said = f"z is exactly 0 in {layer}"
    return f"{said}, so that nothing of the image is left", (lost - _SIGNAL) / _SIGNAL, layer


def _lost(start: Flow) -> float:
    """Return the decades that z loses up to the last nonlinearity; inf where it is exactly 0."""
    if len(start.layers) < _PROFILE:
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
    if _DECADES < decades < math.inf:  # from exactly 0 nothing grows
        return _change(start), (decades - _DECADES) / _DECADES, start.layers[0]
    if grown > _DECADES:
        said = f"z grows by {grown:.1f} decades up to {start.layers[-2]}"
        return said, (grown - _DECADES) / _DECADES, start.layers[-2]
    return None


def _change(start: Flow) -> str:
    """Say how dL/dz changes towards the input."""
    decades, slope = start.first_over_last, start.decades_per_layer
    if math.isinf(decades):
        return f"dL/dz is exactly 0 in {start.layers[0]}"
    word, sign = ("shrinks", -1) if decades < 0 else ("grows", 1)
    said = f"dL/dz {word} by {sign * decades:.1f} decades from {start.layers[-2]} back to "
    said += start.layers[0]
    if math.isinf(slope):
        zero = start.layers[int(np.isneginf(start.gradient).argmax())]
        return f"{said}, and is exactly 0 in {zero}"
    return f"{said}, {sign * slope:.2f} a layer"


def _blown_up(flows: Sequence[Flow], chance: float) -> _Cause | None:
    losses = [(flow.known_loss[0], flow.step) for flow in flows if flow.known_loss is not None]
    if len(losses) < 2:
        return None
    first, (worst, step) = losses[0][0], max(losses[1:])
    threshold = _BLOWN_UP * max(chance, first)
    if worst <= threshold:
        return None
    against = f"chance {chance:.3g}" if chance > first else f"at first {first:.3g}"
    said = f"the loss goes up to {worst:.3g} by step {step}, {against}"
    return said, worst / threshold - 1 if threshold else math.inf, None


def _steps_too_large(flows: Sequence[Flow]) -> _Cause | None:
    early = itertools.takewhile(lambda flow: flow.step <= _EARLY, flows)
    # The median: what one layer does, such as the head's, is survived.
    steps = [
        (float(np.nanmedian(flow.update_to_weight)), flow.step) for flow in early if _known(flow)
    ]
    if not steps:
        return None
    largest, step = max(steps)
    if 10**largest <= _STEP:
        return None
    said = f"half of the weights change by {10**largest:.2g} of their size or more in step {step}"
    return said, largest - math.log10(_STEP), None


def _known(flow: Flow) -> bool:
    return bool(np.isfinite(flow.update_to_weight).any())


def _verdict(kind: Kind, evidence: str, beyond: float, step: int, layer: str | None) -> Verdict:
    confidence = 1 - 0.5 * math.exp(-2 * max(beyond, 0))
    return Verdict(kind, evidence, round(confidence, 2), step, layer, ())
