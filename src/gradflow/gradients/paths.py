"""How the layers of a net are connected, read from autograd's graph of one loss.

Layers in a row can be compared with each other; a layer in one of several branches cannot show what
becomes of the signal, which has another way. This file knows autograd's nodes, and nothing of
modules.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch.autograd.graph import Node


class Place(NamedTuple):
    """Where a layer lies in its net."""

    before: int  # layers on the longest path to it from the input
    behind: int  # layers on the longest path from it to the output
    bypassed: bool  # whether the signal has a way from the input to the output around it


class Layer(NamedTuple):
    """The nodes of a nonlinearity: that of its input, and that of its output."""

    z: Node
    output: Node
    outside: bool = False  # whether no module called it


def in_a_row(count: int) -> list[Place | None]:
    """Return the places of layers that follow each other."""
    return [Place(i, count - 1 - i, False) for i in range(count)]


def places(
    layers: Sequence[Layer], losses: Sequence[Node], weighted: Sequence[Node]
) -> list[Place | None]:
    """Return each layer's place between input and losses.

    None if it does not depend on the input, or if it was called outside of any module and no weight
    layer depends on it: then it belongs to the loss.

    `layers` are in the order in which they were called, `losses` the nodes of the losses, and
    `weighted` those of what weight layers put out: the input comes in through the ones that depend
    on no layer. Where the graph does not connect the layers, as with reentrant activation
    checkpointing, they are taken to follow each other.
    """
    n = len(layers)
    starts = [*losses, *(layer.z for layer in layers)]
    bits: dict[Node, int] = {}
    for i, layer in enumerate(layers):
        bits[layer.output] = bits.get(layer.output, 0) | 1 << i
    nearest = _nearest(starts, bits)
    stems = [node for node in weighted if nearest.get(node) == 0]
    if stems:
        nearest = _nearest(starts, bits | dict.fromkeys(stems, 1 << n))
    # What lies directly before each layer, and before the losses. Bit n is the input.
    directly = [nearest[layer.z] for layer in layers]
    if any(mask >> i & ((1 << n) - 1 >> i) for i, mask in enumerate(directly)):
        return in_a_row(n)  # a layer depends on one that was called later
    at_end = 0
    for loss in losses:
        at_end |= nearest[loss]
    fed, before = 1 << n, [0] * n  # fed: bits of the layers that depend on the input
    if not stems:  # no weight layer was seen: then any layer may be the first
        fed |= sum(1 << i for i, mask in enumerate(directly) if not mask)
    for i, mask in enumerate(directly):
        if mask & fed:
            fed |= 1 << i
        before[i] = max((before[j] + 1 for j in range(i) if mask & fed & 1 << j), default=0)
    behind = [-1] * n  # -1: the losses do not depend on it
    for i in range(n - 1, -1, -1):
        after = [behind[j] + 1 for j in range(i + 1, n) if directly[j] >> i & 1 and behind[j] >= 0]
        behind[i] = max([0] * (at_end >> i & 1) + after, default=-1)
    if not fed & ((1 << n) - 1) or min(behind, default=0) < 0:
        return in_a_row(n)
    weighed = 0  # bits of the layers that a weight layer depends on
    for node in weighted:
        weighed |= nearest.get(node, 0)
    for i in range(n - 1, -1, -1):
        if weighed >> i & 1:
            weighed |= directly[i]
    # A connection leads around all layers that were called between its ends.
    around = [0] * (n + 1)
    for i, mask in enumerate([*directly, at_end]):
        sources = [j for j in range(i) if mask & fed & 1 << j] + [-1] * (mask >> n & 1)
        if sources:
            around[min(sources) + 1] += 1
            around[i] -= 1
    found: list[Place | None] = []
    covered = 0
    for i in range(n):
        covered += around[i]
        counts = fed >> i & 1 and (not layers[i].outside or weighed >> i & 1)
        found.append(Place(before[i], behind[i], covered > 0) if counts else None)
    return found


def _nearest(starts: Sequence[Node], bits: dict[Node, int]) -> dict[Node, int]:
    """Return for each node that `starts` depend on the marked nodes next to it, as bits.

    The mask of a marked node is its own bits. Each node is visited once.
    """
    nearest: dict[Node, int] = {}
    stack: list[tuple[Node, bool]] = [(node, False) for node in starts]
    while stack:
        node, done = stack.pop()
        if node in nearest:
            continue
        upstream = [] if node in bits and not done else [f for f, _ in node.next_functions if f]
        if done or not upstream:
            mask = bits.get(node, 0)
            if node not in bits:
                for function in upstream:
                    mask |= nearest.get(function, 0)
            nearest[node] = mask
        else:
            stack.append((node, True))
            stack += [(function, False) for function in upstream if function not in nearest]
    return nearest
