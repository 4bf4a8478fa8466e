"""What is wrong with a sick draw: which single setting, replaced by a sane one, cures it.

The cures decide which kinds of verdict are right. Both tables follow from reasoning about the
settings alone, and were written before any verdict on a drawn run was seen.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace

import torch

from lab.faults.drawn.draws import Draw
from lab.faults.drawn.net import build_net, weights

# The middle of what learns in each optimizer's textbook use.
SANE_LR = {"sgd": 0.05, "momentum": 0.02, "adam": 1e-3, "rmsprop": 1e-3, "adagrad": 0.01}
_SANE_INIT = {
    "relu": "he_normal",
    "leaky_relu": "he_normal",
    "elu": "he_normal",
    "tanh": "glorot_normal",
    "sigmoid": "glorot_normal",
}
_BOUNDED = ("tanh", "sigmoid")

# The kinds that are right if this setting, in this direction, is what makes the run sick.
_KINDS = {
    # Too small steps leave layers healthy, and the loss where it is.
    "lr too low": {"untrained"},
    # Too large steps blow the loss up, or push units where they have no slope.
    "lr too high": {"diverged", "exploding", "dead", "saturated"},
    # Small weights lose the signal forward, and so the gradient backward.
    "init too small": {"frozen", "vanishing"},
    "init too large": {"exploding", "saturated", "diverged", "dead"},
    # Bounded activations have small slopes, or none far from 0. Sigmoid's output hides the image.
    "activation": {"vanishing", "saturated", "frozen"},
    # Batch norm sets each layer's scale anew, whatever was wrong with it.
    "norm": {"vanishing", "frozen", "exploding", "diverged", "saturated", "dead"},
    # The penalty outweighs the cross-entropy, and pulls the weights to 0.
    "l2": {"frozen", "untrained", "vanishing"},
    # Clipping only makes steps smaller.
    "clip": {"diverged", "exploding"},
}


def counterfactuals(draw: Draw) -> dict[str, Draw]:
    """Return the same draw with one setting replaced, by the setting's name.

    A setting that is sane already has no counterfactual.
    """
    init = _SANE_INIT[draw.activation]
    found = {"lr": replace(draw, lr=SANE_LR[draw.optimizer])}
    # he_uniform is as good as he_normal: a cure would be luck.
    if draw.init.split("_")[0] != init.split("_")[0]:
        found["init"] = replace(draw, init=init)
    if draw.activation in _BOUNDED:
        found["activation"] = replace(draw, activation="relu")
    if draw.norm != "before":
        found["norm"] = replace(draw, norm="before")
    if draw.l2:
        found["l2"] = replace(draw, l2=0.0)
    if draw.clip == "none":
        found["clip"] = replace(draw, clip="norm")
    return found


def right_kinds(draw: Draw, cures: Iterable[str]) -> set[str]:
    """Return the kinds of verdict that are right for a sick draw with these cures."""
    kinds: set[str] = set()
    for cure in cures:
        kinds |= _KINDS[_directed(draw, cure)]
    return kinds


def cures(learned: Mapping[str, bool]) -> list[str]:
    """Return which replacements alone cure, from whether each counterfactual learned."""
    return [name for name, well in learned.items() if well]


def _directed(draw: Draw, cure: str) -> str:
    if cure == "lr":
        return "lr too low" if draw.lr < SANE_LR[draw.optimizer] else "lr too high"
    if cure == "init":
        return "init too small" if _relative_scale(draw) < 1 else "init too large"
    return cure


@torch.no_grad()
def _relative_scale(draw: Draw) -> float:
    """Return the geometric mean over layers of the weights' scale, relative to the sane one."""
    sane = replace(draw, init=_SANE_INIT[draw.activation])
    pairs = zip(weights(build_net(draw)), weights(build_net(sane)), strict=True)
    logs = [math.log(float(drawn.std() / right.std())) for drawn, right in pairs]
    return math.exp(sum(logs) / len(logs))
