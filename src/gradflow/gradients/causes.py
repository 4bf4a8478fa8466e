"""The rules: which known cause of failure the layers and losses of a run show.

Each returns what it finds, or None. This file knows flows, and not whether the net learns.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from gradflow.gradients.comparable import ends, gradient_change, signal_change
from gradflow.gradients.flow import Floats, Flow
from gradflow.gradients.learning import Loss

# Set on the tuning parts of the fault suites (see verdict.py).
_DECADES = 2.0  # of dL/dz or z, between the first and the last nonlinearity
_Z_DECADES = 2.0  # decades that z may lose from the first to the last nonlinearity
_SMALL_WEIGHTS = 0.6  # decades of z lost, above which small weights are taken as the cause
_BAD_UNITS = 0.75  # share of a layer's units that are dead, or saturated
_LARGE_STEP = 0.075  # relative change of half of the weights, which erases their initialization
_WORSE = 1.05  # times the first loss: what a step leads to that did harm, if nothing is learned
_MUCH_WORSE = 1.5  # the same, while it cannot be known whether the net will learn
_BLOWN_UP = 2.0  # times the chance loss: a higher loss is worse than guessing
_LARGE_OUTPUTS = 1.0  # decades of the outputs' RMS, above which they are no usual ones
_LASTING = 3  # batches that a loss must be high in: more than a single noisy one
EARLY = 20  # steps in which a run is judged by its layers alone
_MIN_LAYERS = 3  # with the logits: fewer cannot show shrinking or growing


class Cause(NamedTuple):
    """What a rule finds."""

    evidence: str
    beyond: float  # how far beyond the threshold: 0 at it, 1 at twice the threshold
    layer: str | None = None


def units(flow: Flow, shares: Floats, state: str) -> Cause | None:
    """Judge the layer with the largest share of units in `state`: dead or saturated."""
    if np.isnan(shares).all():  # also if there are no layers
        return None
    worst = int(np.nanargmax(shares))
    share = float(shares[worst])
    if share <= _BAD_UNITS:
        return None
    text = f"{share:.0%} of the units of {flow.layers[worst]} are {state} at step {flow.step}"
    return Cause(text, (share - _BAD_UNITS) / _BAD_UNITS, flow.layers[worst])


def frozen(flow: Flow) -> Cause | None:
    """Judge whether z shrinks until nothing of the input is left."""
    lost = -signal_change(flow)
    if not lost > _Z_DECADES:
        return None
    layer = _last(flow)
    text = f"z shrinks by {lost:.1f} decades up to {layer}"
    if math.isinf(lost):
        layer = flow.layers[int(np.isneginf(flow.pre_activation).argmax())]
        text = f"z is exactly 0 in {layer}"
    return Cause(f"{text}, so that nothing of the image is left", _beyond(lost, _Z_DECADES), layer)


def has_small_weights(flow: Flow) -> bool:
    """Return whether z shrinks too where dL/dz does, as both do with weights that are small."""
    return -signal_change(flow) > _SMALL_WEIGHTS


def vanishing(flow: Flow) -> Cause | None:
    """Judge whether dL/dz shrinks towards the input."""
    change = gradient_change(flow)
    if not change < -_DECADES:
        return None
    return Cause(_words(flow, change), _beyond(-change, _DECADES), _first(flow))


def exploding(flow: Flow) -> Cause | None:
    """Judge whether dL/dz grows towards the input, or z towards the output."""
    change, grown = gradient_change(flow), signal_change(flow)
    if _DECADES < change < math.inf:  # inf: from exactly 0
        return Cause(_words(flow, change), _beyond(change, _DECADES), _first(flow))
    if grown > _DECADES:
        layer = _last(flow)
        text = f"z grows by {grown:.1f} decades up to {layer}"
        return Cause(text, _beyond(grown, _DECADES), layer)
    return None


def overflowing(flow: Flow, where: str) -> Cause | None:
    """Judge whether z grows before the layer `where` it is not finite."""
    known = flow.layers.index(where) if where in flow.layers else 0
    z = flow.pre_activation[:known]
    z = z[np.isfinite(z)]
    grown = float(z[-1] - z[0]) if len(z) > 1 else 0.0
    if grown <= _DECADES:
        return None
    text = f"z grows by {grown:.1f} decades up to {where}"
    return Cause(text, _beyond(grown, _DECADES), where)


def blown_up(losses: Sequence[Loss], reference: float) -> Cause | None:
    """Judge whether the loss went far above both the first one and `reference`."""
    lasting = _lasting(losses[1:])
    if not lasting:
        return None
    first, (worst, step) = losses[0].mean, max(lasting)
    level = max(reference, first)
    threshold = level + (_BLOWN_UP - 1) * abs(level)  # a loss may be negative
    if worst <= threshold:
        return None
    against = f"chance {reference:.3g}" if reference > first else f"at first {first:.3g}"
    text = f"the loss goes up to {worst:.3g} by step {step}, {against}"
    return Cause(text, (worst - threshold) / abs(threshold) if threshold else math.inf)


def steps_too_large(flows: Sequence[Flow], losses: Sequence[Loss], *, young: bool) -> Cause | None:
    """Judge whether an early step erased the weights, and the loss got worse by it.

    A large step alone does no harm: with Adam, weights that are small change by much of their size.
    """
    early = list(itertools.takewhile(lambda flow: flow.step <= EARLY, flows))
    # The median, since a net survives a large step of one layer, such as the head. A weight that
    # was 0 has no size that a step could be compared with.
    steps = [
        (float(np.median(ratios)), flow.step)
        for flow in early
        if len(ratios := flow.update_to_weight[np.isfinite(flow.update_to_weight)])
    ]
    if not steps or not losses:
        return None
    largest, step = max(steps)
    later = _lasting([loss for loss in losses if step < loss.step <= step + EARLY])
    if 10**largest <= _LARGE_STEP or not later:
        return None
    first, worse = losses[0].mean, max(later)[0]
    if worse <= first + ((_MUCH_WORSE if young else _WORSE) - 1) * abs(first):
        return None
    text = f"half of the weights change by {10**largest:.2g} of their size or more in step {step}"
    text += f", and the loss goes from {first:.3g} up to {worse:.3g}"
    return Cause(text, largest - math.log10(_LARGE_STEP))


def out_of_scale(
    start: Flow, losses: Sequence[Loss], chance: float | None, present: float
) -> Cause | None:
    """Judge whether the loss has been far above chance from the start, since outputs are large."""
    outputs = start.pre_activation[-1] if start.layers else math.nan
    if chance is None or not losses or not outputs > _LARGE_OUTPUTS:
        return None
    threshold = chance + (_BLOWN_UP - 1) * abs(chance)
    if min(losses[0].mean, present) <= threshold:
        return None
    text = f"the loss is {losses[0].mean:.3g} at first and {present:.3g} now, chance {chance:.3g}"
    return Cause(text, (present - threshold) / abs(threshold) if threshold else math.inf)


def unjudged(flow: Flow) -> str | None:
    """Return why layers cannot show whether gradients vanish or explode; None if they can."""
    if not flow.is_finite:
        return "z is not finite in every layer, so that gradients cannot be judged"
    change = gradient_change(flow)
    found = ends(flow)
    if found is not None and np.isneginf(flow.gradient[found.last]).all():
        return f"dL/dz is exactly 0 in {_last(flow)}, so that its change cannot be judged"
    if not math.isnan(change):
        return None
    if len(flow.layers) < _MIN_LAYERS:
        which = "only some layers were" if len(flow.layers) else "no layer was"
        return f"{which} measured, too few to tell whether gradients vanish or explode"
    return "no two layers lie in a row, so that the change of dL/dz cannot be judged"


def _lasting(losses: Sequence[Loss]) -> list[tuple[float, int]]:
    """Return the median of each loss and the ones before it, over enough batches, and its step."""
    found = []
    for i in range(len(losses)):
        part = list(itertools.takewhile(lambda loss: loss.batches < _LASTING, losses[i::-1]))
        part = part[:_LASTING] or [losses[i]]
        if sum(loss.batches for loss in part) >= _LASTING:
            found.append((statistics.median(loss.mean for loss in part), losses[i].step))
    return found


def _beyond(decades: float, threshold: float) -> float:
    return (decades - threshold) / threshold


def _first(flow: Flow) -> str:
    found = ends(flow)
    assert found is not None
    return flow.layers[int(found.first[np.nan_to_num(flow.gradient[found.first]).argmax()])]


def _last(flow: Flow) -> str:
    found = ends(flow)
    assert found is not None
    return flow.layers[int(found.last[np.nan_to_num(flow.pre_activation[found.last]).argmax()])]


def _words(flow: Flow, change: float) -> str:
    """Describe how dL/dz changes towards the input."""
    found = ends(flow)
    assert found is not None
    if math.isinf(change):
        return f"dL/dz is exactly 0 in {_first(flow)}"
    word, sign = ("shrinks", -1) if change < 0 else ("grows", 1)
    first, last = _first(flow), _last(flow)
    recorded = flow.gradient[flow.layers.index(first)] - flow.gradient[flow.layers.index(last)]
    allowed = sign * change + 0.1 < sign * recorded
    shown = sign * (recorded if allowed else change)
    text = f"dL/dz {word} by {shown:.1f} decades from {last} back to {first}"
    if allowed:
        return f"{text}, {sign * change:.1f} of them beyond what pooling and norms explain"
    between = flow.gradient[found.first.min() : found.last.max() + 1]
    if np.isneginf(between).any():
        zero = int(found.first.min() + np.isneginf(between).argmax())
        return f"{text}, and is exactly 0 in {flow.layers[zero]}"
    return f"{text}, {abs(change) / max(len(between) - 1, 1):.2f} a layer"
