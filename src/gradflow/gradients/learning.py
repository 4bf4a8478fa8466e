"""Whether a net learns: its loss against what a net reaches that knows nothing of its input.

That level is the chance loss, where the record has it. Where it has none, the loss is compared with
the first one, and only a fall well beyond the noise of a single batch counts. This file knows
flows, and no layers.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import NamedTuple

import numpy as np

from gradflow.gradients.flow import Flow

# Set on the tuning parts of the fault suites (see verdict.py).
_GAIN = 0.002  # share of the chance loss that a net must gain to have learned anything
_CLEAR_GAIN = 0.03  # the same, if its layers show a cause: with less it hardly learns
_FALL = 0.05  # share of the first loss that must be gained, where the chance loss is unknown
_CLEAR_FALL = 0.5  # the same, if its layers show a cause
_ERRORS = 2.5  # standard errors that any gain must exceed
_MIN_BATCHES = 25  # that the present loss is averaged over, at least
_LATEST = (0.1, 0.3)  # shares of all batches that it is averaged over, too
_FIRST = 5  # batches that the first loss is averaged over
_HIT_BATCHES = 12  # the latest records whose accuracy counts
_CLEAR_HITS = 0.05  # gain of accuracy over the largest class that is needed if layers show a cause
_CHANGES = 3  # of the loss, that it takes to see how it follows from the plain loss function
_STEADY = 0.5  # change of a penalty's change, as a share of it: noise has more than 1
_REST = 0.2  # share of such a change that may have other reasons
_RISE = 0.2  # of the task's metric, as a share of its first values
_CLEAR_RISE = 0.4  # the same, if layers show a cause
_TREND = 2.576  # standard deviations: the probability of more by chance is 0.005
_NEAR_CHANCE = 0.15  # share of log(outputs) by which a first loss may miss it


@dataclass(frozen=True)
class Learning:
    """What the losses of a run's records so far say."""

    losses: list[Loss]
    chance: float | None  # None if it is unknown
    first: float  # the mean loss of the first batches; NaN if no loss is known
    present: float  # mean of the latest batches
    batches: int  # that `present` is the mean of
    error: float  # the standard error of the gain
    hits: tuple[float, float]  # gain of accuracy over the largest class, and its standard error
    metric_rise: float  # of the task's metric, as a share of what it was; 0 if it is within noise

    @property
    def is_young(self) -> bool:
        """Whether there were too few batches to tell anything."""
        return self.batches < _MIN_BATCHES

    @property
    def reference(self) -> float:
        """The loss that a net must get below."""
        return self.first if self.chance is None else self.chance

    @property
    def gain(self) -> float:
        """The gain over `reference`, as a multiple of what is needed: above 1, the net learns."""
        return self._over(_GAIN if self.chance is not None else _FALL, 0.0, _RISE)

    @property
    def clear_gain(self) -> float:
        """The same, of what a net needs whose layers show a cause of failure."""
        needed = _CLEAR_GAIN if self.chance is not None else _CLEAR_FALL
        return self._over(needed, _CLEAR_HITS, _CLEAR_RISE)

    @property
    def evidence(self) -> str:
        """The losses in words."""
        level = "at first" if self.chance is None else "chance"
        text = f"{self.present:.4g}, {level} {self.reference:.4g}"
        return f"{text}, what chance is being unknown" if self.chance is None else text

    def _over(self, share: float, hits: float, rise: float) -> float:
        if self.metric_rise > rise:
            return 2.0
        needed = max(share * abs(self.reference), _ERRORS * self.error)
        gained = self.reference - self.present
        by_loss = gained / needed if needed > 0 and math.isfinite(gained) else 0.0
        right, error = self.hits
        if self.present > self.reference + abs(self.reference):
            right = 0.0  # worse than guessing, whatever is right by the way
        needed = max(hits, _ERRORS * error)
        by_hits = right / needed if needed > 0 else 0.0
        # Two pieces of evidence add up.
        return math.hypot(by_loss, by_hits) if min(by_loss, by_hits) > 0 else max(by_loss, by_hits)


def learning(flows: Sequence[Flow]) -> Learning:
    """Return what the losses of `flows`, all finite, say."""
    scale = _scale(flows)
    losses = _plain(flows, scale)
    chance = _chance(flows, losses[0].mean if losses else math.nan, scale)
    hits, rises = _hits(flows), _metric_rise(flows)
    first, seen, _ = _mean(losses, _FIRST)
    if losses:
        first = min(first, losses[0].mean)  # a loss that rises at first has not fallen later
    total = sum(loss.batches for loss in losses)
    windows = [_mean(losses[::-1], max(_MIN_BATCHES, share * total)) for share in _LATEST]
    found = []
    for present, batches, deviation in windows:
        before = 0.0 if chance is not None else 1 / max(seen, 1)
        error = deviation * math.sqrt(1 / max(batches, 1) + before)
        found.append(Learning(losses, chance, first, present, batches, error, hits, rises))
    return max(found, key=lambda learning: learning.gain)


class Loss(NamedTuple):
    """The plain loss of some batches, as the chance loss has to be compared with it."""

    step: int
    mean: float
    batches: int
    deviation: float  # of one batch


def _plain(flows: Sequence[Flow], scale: float | None) -> list[Loss]:
    """Return the finite losses of the records, without what L adds to its plain loss function.

    Where the record has the value t of the plain loss function, L = a t + b. `scale` is a;
    b may drift, as a penalty does.
    """
    found = []
    for flow in flows:
        if flow.known_loss is None:
            continue
        mean, batches = flow.known_loss
        deviation = 0.0 if math.isnan(flow.loss_deviation) else flow.loss_deviation
        if scale is not None and flow.term is not None and flow.loss is not None:
            mean = (mean - flow.loss) / scale + flow.term
            deviation /= scale
        if math.isfinite(mean):
            found.append(Loss(flow.step, mean, batches, deviation))
    return found


def _scale(flows: Sequence[Flow]) -> float | None:
    """Return a in L = a t + b; None if L does not follow t, as with masks or weights of its own."""
    points = [(f.loss, f.term) for f in flows if f.loss is not None and f.term is not None]
    changes = [(after[0] - before[0], after[1] - before[1]) for before, after in pairwise(points)]
    changes = [(x, t) for x, t in changes if math.isfinite(x) and math.isfinite(t) and t]
    if len(changes) < _CHANGES:
        same = all(math.isclose(x, t, rel_tol=1e-3) for x, t in points)
        return 1.0 if same and points else None
    scale = statistics.median(x / t for x, t in changes)
    rest = statistics.median(abs(x - scale * t) for x, t in changes)
    follows = rest <= _REST * statistics.median(abs(scale * t) for _, t in changes)
    if follows and scale > 0:
        return scale
    # A penalty may change by more than the loss function does, but steadily.
    steps = np.diff([x - t for x, t in points])
    steady = float(np.median(np.abs(np.diff(steps)))) <= _STEADY * float(np.median(np.abs(steps)))
    return 1.0 if steady else None


def _mean(losses: Sequence[Loss], wanted: float) -> tuple[float, int, float]:
    """Return mean, number and deviation of the losses of the first `wanted` batches, or more."""
    total = squares = 0.0
    batches = 0
    for loss in losses:
        if batches >= wanted:
            break
        total, batches = total + loss.mean * loss.batches, batches + loss.batches
        squares += (loss.mean**2 + loss.deviation**2) * loss.batches
    if not batches:
        return math.nan, 0, 0.0
    mean = total / batches
    return mean, batches, math.sqrt(max(squares / batches - mean**2, 0.0))


def _hits(flows: Sequence[Flow]) -> tuple[float, float]:
    """Return how far the latest batches' accuracy exceeds the largest class, and its error."""
    known = [
        (f.hits, f.largest_class)
        for f in flows
        if f.hits is not None and math.isfinite(f.hits)  # NaN: no target of the batch counted
    ]
    latest = [hits for hits, _ in known[-_HIT_BATCHES:]]
    if len(latest) < _HIT_BATCHES:
        return 0.0, 0.0
    error = statistics.stdev(latest) / math.sqrt(len(latest))
    return statistics.fmean(latest) - (known[-1][1] or 0.0), error


def _chance(flows: Sequence[Flow], first: float, scale: float | None) -> float | None:
    """Return the chance loss; None without evidence for one.

    The record has it where the module says it, or where it follows from the targets; the latest
    one is based on most of them. Otherwise it is the logarithm of the number of logits, if the
    first loss lies there: a loss may also be scaled, have penalties, or be none of classes at all.
    """
    told = [flow.chance_loss for flow in flows if flow.chance_loss is not None]
    measured = any(flow.term is not None for flow in flows)
    if told and (not measured or scale is not None):
        return told[-1] if math.isfinite(told[-1]) else None
    start = next((flow for flow in flows if flow.layers), flows[0])
    if start.outputs < 2:
        return None
    level = math.log(start.outputs)
    return level if abs(first / level - 1) <= _NEAR_CHANCE else None


def _metric_rise(flows: Sequence[Flow]) -> float:
    """Return by which share the task's metric got better; 0 if it has no trend.

    The share is that of the latest third of its values over the first third. The trend is tested by
    Mann 1945, who takes values to be independent: means over windows that do not overlap nearly
    are, running means are not. A value that several records repeat counts once.
    """
    values: list[float] = []
    for flow in flows:
        if flow.metric is not None and math.isfinite(flow.metric) and [flow.metric] != values[-1:]:
            values.append(flow.metric)
    n, third = len(values), len(values) // 3
    if third < 2:
        return 0.0
    rising = sum((b > a) - (b < a) for a, b in combinations(values, 2))
    if rising <= _TREND * math.sqrt(n * (n - 1) * (2 * n + 5) / 18):
        return 0.0
    level = statistics.fmean(values[:third])
    rise = statistics.fmean(values[-third:]) - level
    return rise / abs(level) if level else math.inf
