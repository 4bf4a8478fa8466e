"""The verdict: what a run's gradients do, the evidence for it, and the overrides to try.

`diagnose` computes it from the record alone, with two questions. First, did the loss become useless
(diverged, exploding), or does the net learn (healthy)? Second, if neither, or hardly: which known
cause do its layers show, or do they look healthy (untrained)? Early in a run only the second
question is asked, since learning does not show yet, and a net with healthy layers is given time.
A verdict stands until the records after it have shown another one for a while.

Thresholds are set on the tuning parts of the fault suites alone; scripts/lab/fault_suite.py
measures how often the verdict is right. This file knows flows, and neither torch nor Hydra; the
overrides are only text for the user.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal, cast

import polars as pl

from gradflow.gradients import causes
from gradflow.gradients.atomic import write_text
from gradflow.gradients.causes import EARLY, Cause
from gradflow.gradients.comparable import gradient_change, signal_change
from gradflow.gradients.flow import Flow, read_flows, together
from gradflow.gradients.learning import learning
from gradflow.gradients.record import first_non_finite
from gradflow.gradients.schedule import is_scheduled

FILE = "verdict.json"
Kind = Literal[
    "healthy", "vanishing", "exploding", "frozen", "dead", "saturated", "diverged", "untrained"
]

_PATIENCE = 100  # steps that a net with healthy layers is given to learn anything
# However far from the thresholds, about one verdict in ten is wrong on nets of other kinds. So
# it was in the parts of the foreign suite that no threshold was set on.
_SUREST = 0.9
_DOUBT = 0.55  # share of the gain needed, above which it is not said that nothing is learned
_LASTING = 3  # records that must show another kind before the verdict changes, or …
_LASTING_STEPS = 10  # … two of them, this far apart
_ZERO = 3  # records in which dL/dz must be exactly 0, before this is no start of a branch

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
    confidence: float  # 0.5 at a threshold, towards 0.9 far from it
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
    if not flows:
        raise ValueError("flows=[]: there must be at least one record")
    diagnosis = Diagnosis(remedies)
    for flow in flows[:-1]:
        diagnosis.add(flow)
    return diagnosis.add(flows[-1], first_non_finite, final=True)


class Diagnosis:
    """The verdict on a run as its records come in.

    Records that lie closer together than the schedule's (see `schedule.py`) are taken together, so
    that a run of any length and cadence is judged in the same way, and at the same cost.
    """

    def __init__(self, remedies: Remedies | None = None) -> None:
        self._remedies = remedies or {}
        self._flows: list[Flow] = []  # at most one for each step of the schedule
        self._waiting: list[Flow] = []  # the ones since then
        self._standing: Verdict | None = None
        self._others: list[Verdict] = []  # of the latest records, all of one other kind

    def add(
        self,
        flow: Flow,
        first_non_finite: tuple[int, str] | None = None,
        *,
        final: bool = False,
    ) -> Verdict:
        """Return the verdict after `flow`, the next record. It is `final` if none will follow.

        The kind changes only once the records have shown another one for a while: a loss close to
        a threshold would change it back and forth. A loss that is not finite ends the wait.
        """
        self._waiting.append(flow)
        bad = first_non_finite is not None or not _is_known(flow)
        before = self._flows[-1].step if self._flows else -1
        due = any(is_scheduled(step) for step in range(before + 1, flow.step + 1))
        if not due and not bad and not final and self._standing is not None:
            return self._standing
        self._flows.append(together(self._waiting))
        self._waiting = []
        found, keys = _judge(self._flows, first_non_finite)
        tried = dict.fromkeys(text for key in keys for text in self._remedies.get(key, ()))
        found = replace(found, remedies=tuple(tried))
        standing = self._standing
        # That nothing was learned for long is no accident of one record.
        at_once = bad or found.kind == "untrained"
        if standing is None or found.kind == standing.kind or at_once:
            return self._stand(found)
        if self._others and self._others[0].kind != found.kind:
            self._others.clear()
        self._others.append(found)
        lasted = found.step - self._others[0].step
        if len(self._others) >= _LASTING or lasted >= _LASTING_STEPS:
            return self._stand(found)
        return standing

    def _stand(self, verdict: Verdict) -> Verdict:
        self._standing, self._others = verdict, []
        return verdict


def _is_known(flow: Flow) -> bool:
    return flow.loss is None or math.isfinite(flow.loss)


def _judge(
    flows: Sequence[Flow], first_non_finite: tuple[int, str] | None
) -> tuple[Verdict, list[str]]:
    """Return the verdict without remedies, and its keys of `Remedies`."""
    step = flows[-1].step
    finite = [flow for flow in flows if flow.is_finite]
    seen = finite or flows
    # The first shows what initialization alone does. training_step may have skipped some batches.
    start, now = next((flow for flow in seen if flow.layers), seen[0]), seen[-1]
    latest = flows[-1].loss
    if first_non_finite is None and latest is not None and not math.isfinite(latest):
        first_non_finite = (step, "loss")
    if first_non_finite is not None:
        return _judge_non_finite(flows[0], start, first_non_finite, step)
    if start.optimizers > 1:
        return _judge_several(start, now, step)
    learns = learning(seen)
    young = step < EARLY or learns.is_young
    # A net that learns has recovered from any divergence in between.
    has_learned = not young and learns.gain > 1
    divergence: tuple[Cause | None, ...] = ()
    if not has_learned:
        level = learns.reference
        divergence = (
            causes.blown_up(learns.losses, level),
            causes.steps_too_large(finite, learns.losses, young=young),
        )
    first = _past_zeros(seen)
    small = "small_weights" if causes.has_small_weights(first) else "vanishing"
    # Causes in the initialization come first: those in training are their consequence.
    rules: tuple[tuple[Kind, Cause | None, str], ...] = (
        ("dead", causes.units(start, start.dead, "dead"), "dead"),
        ("saturated", causes.units(start, start.saturated, "saturated"), "saturated"),
        ("frozen", causes.frozen(first), "frozen"),
        ("vanishing", causes.vanishing(first), small),
        ("exploding", causes.exploding(first), "exploding"),
        *(("diverged", cause, "diverged") for cause in divergence),
        ("dead", causes.units(now, now.dead, "dead"), "by_training"),
        ("saturated", causes.units(now, now.saturated, "saturated"), "by_training"),
    )
    found = [(kind, cause, key) for kind, cause, key in rules if cause is not None]
    gain = learns.clear_gain if found else learns.gain
    if not young and gain > 1:
        return _verdict("healthy", f"the loss is {learns.evidence}", gain - 1, step, None), []
    if found:
        kind, (text, beyond, layer), key = found[0]
        keys = [key]
        # A second accident on top of what the initialization shows.
        second = next((cause for cause in divergence if cause and kind != "diverged"), None)
        if second is not None:
            text, keys = f"{text}; besides, {second.evidence}", [key, "diverged"]
        if has_learned:
            text, beyond = f"{text}; the loss is {learns.evidence}", min(beyond, 1 - gain)
        elif kind == "diverged" and not young:  # a little more gain would make it healthy
            beyond = min(beyond, 1 - learns.gain)
        return _verdict(kind, text, beyond, step, layer), keys
    scale = causes.out_of_scale(start, learns.losses, learns.chance, learns.present)
    if scale is not None and not young:
        return _verdict("exploding", scale.evidence, scale.beyond, step, None), ["exploding"]
    why = causes.unjudged(start)
    if young or step - flows[0].step < _PATIENCE:
        text = why or "no layer shows anything amiss so far"
        return _verdict("healthy", text, 0.0, step, None), []
    if gain > _DOUBT:
        text = f"the loss is {learns.evidence}, too close to tell whether the net learns"
        return _verdict("healthy", text, 0.0, step, None), []
    text = f"the loss stays at {learns.evidence}, "
    text += f"and {why}" if why else "though no layer shows why"
    return _verdict("untrained", text, _DOUBT - gain, step, None), ["untrained"]


def _past_zeros(flows: Sequence[Flow]) -> Flow:
    """Return the first flow in which no layer to be compared is exactly 0.

    A branch that starts at zero, so that its block begins as the identity, is zero in the first
    record. What stays zero is judged as it is.
    """
    layered = [flow for flow in flows if flow.layers] or list(flows)
    awake = (f for f in layered if -math.inf not in (gradient_change(f), signal_change(f)))
    found = next(awake, None)
    if found is None and len(layered) < _ZERO and flows[-1].step < EARLY:
        return replace(layered[0], layers=[])  # nothing can be told yet
    return found or layered[0]


def _judge_non_finite(
    earliest: Flow, start: Flow, first: tuple[int, str], step: int
) -> tuple[Verdict, list[str]]:
    """Judge a run whose loss is not finite. Before the first step, no training has caused it."""
    bad_step, where = first
    layer = None if where == "loss" else where
    text = f"the loss is not finite at step {bad_step}"
    if bad_step == 0:
        text += ", before any weight has changed"
    if layer is not None:
        text += f"; z is first so in {where}"
    grown = causes.overflowing(earliest, where) if bad_step == 0 else causes.exploding(start)
    if grown is not None:
        text = f"{grown.evidence}; {text}"
        return _verdict("exploding", text, grown.beyond, step, grown.layer), ["exploding"]
    key = "at_start" if bad_step == 0 else "diverged"
    return _verdict("diverged", text, math.inf, step, layer), [key]


def _judge_several(start: Flow, now: Flow, step: int) -> tuple[Verdict, list[str]]:
    """Judge the units alone: which loss and which layers belong to which optimizer is unknown."""
    for flow, key in ((start, ""), (now, "by_training")):
        for kind, shares in (("dead", flow.dead), ("saturated", flow.saturated)):
            if (cause := causes.units(flow, shares, kind)) is not None:
                verdict = _verdict(
                    cast(Kind, kind), cause.evidence, cause.beyond, step, cause.layer
                )
                return verdict, [key or kind]
    text = "no layer has dead or saturated units; with several optimizers no more is judged"
    return _verdict("healthy", text, 0.0, step, None), []


def _verdict(kind: Kind, evidence: str, beyond: float, step: int, layer: str | None) -> Verdict:
    confidence = _SUREST - (_SUREST - 0.5) * math.exp(-2 * max(beyond, 0))
    return Verdict(kind, evidence, round(confidence, 2), step, layer, ())
