"""What is measured of each layer of one pass: the calls that were seen, and the figures of each.

This file knows tensors, and nothing of modules' hooks.
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node

from gradflow.gradients.chance import Term
from gradflow.gradients.histogram import flatten
from gradflow.gradients.paths import Place, in_a_row
from gradflow.gradients.units import Judged, dead_and_saturated, unit_count

UNIT_IMAGES = 2  # of layers with many numbers for each unit: their shares of dead units cover these
OUTPUT = "output"  # the name of the last layer, where no module has returned it


@dataclass(frozen=True)
class LayerValues:
    """Measurements of n layers in the order in which the net computes them.

    `values` is float64 of shape (n, 6), still on the device: norm of z, max |z|, norm of dL/dz,
    max |dL/dz|, share of dead units, share of saturated units. NaN is missing or not a number. The
    logits have no units; a layer after frozen layers only has no gradient. The last layer is the
    logits; if they are unknown, it has 0 elements and no values.
    """

    names: list[str]
    elements: list[int]  # of z, in the measured images
    units: list[int]  # channels of a convolution, features of a linear layer
    positions: list[int]  # pixels or tokens of a unit in one image
    normalized: list[bool]  # whether a normalization layer was called since the layer before
    places: list[Place | None]  # in the net
    has_gradient: list[bool]
    values: Tensor
    term: Term | None  # of the one loss function that takes the logits
    # On request: z and a = phi(z) of the measured images, by layer, for histograms.
    tensors: dict[str, dict[str, Tensor]]

    def below(self, children: list[str]) -> LayerValues | None:
        """Keep only the nonlinearities inside these children. Return None if no layer is left."""
        kept = [i for i, n in enumerate(self.names[:-1]) if n.partition(".")[0] in children]
        if not kept:
            return None
        names = [self.names[i] for i in kept]
        return LayerValues(
            names,
            [self.elements[i] for i in kept],
            [self.units[i] for i in kept],
            [self.positions[i] for i in kept],
            [self.normalized[i] for i in kept],
            in_a_row(len(kept)),
            [self.has_gradient[i] for i in kept],
            self.values[kept],
            None,
            {
                kind: {n: x for n, x in found.items() if n in names}
                for kind, found in self.tensors.items()
            },
        )


@dataclass(eq=False)
class Call:
    """One call of a layer: its input z, in the measured images."""

    name: str
    z: Tensor
    phi: nn.Module | None = None  # a nonlinearity; None for the logits
    in_graph: bool = False  # whether a gradient may come
    frozen: bool = False  # behind frozen layers only: none will come
    gradient: Tensor | None = None
    of_loss: bool = False  # whether the gradient is one of the loss
    returned: bool = False  # whether a module that is the nonlinearity has returned
    output: Tensor | None = None  # of a nonlinearity, where it is needed
    source: Tensor | None = None  # of the logits: the tensor itself
    taken: weakref.ref[Tensor] | None = None  # by a function: z itself
    of_classes: bool = True  # unless a loss of another kind takes it
    terms: list[Term | None] = field(default_factory=list)  # of the losses that take it
    normalized: bool = False  # whether a normalization layer was called since the layer before
    node: Node | None = None  # of z, in autograd's graph
    output_node: Node | None = None
    outside: bool = False  # whether no module called it


def layer_values(
    calls: list[Call],
    places: list[Place | None],
    logits: Call | None,
    factor: Tensor | float,
    keep: Sequence[str],
) -> LayerValues:
    """Return the measurements of `calls` in their order, and of the logits, if they are known."""
    places = [*places, None]
    measured = [*calls, *([] if logits is None else [logits])]
    forward = _norms_and_maxima([call.z for call in measured])
    with_gradient = [call.gradient for call in measured if call.gradient is not None]
    backward = iter(_norms_and_maxima(with_gradient).unbind() if with_gradient else ())
    missing = torch.full_like(forward[0], torch.nan)
    gradients = [missing if call.gradient is None else next(backward) for call in measured]
    judged = [
        Judged(call.phi, _first(call.z), _first(call.output))
        for call in calls
        if call.phi is not None
    ]
    shares = list(dead_and_saturated(judged).to(missing).unbind()) if judged else []
    if logits is not None:
        shares.append(missing)
    values = torch.cat([forward, torch.stack(gradients) * factor, torch.stack(shares)], dim=1)
    names = _numbered([call.name for call in measured])
    tensors: dict[str, dict[str, Tensor]] = {}
    for kind in keep:
        found = [call.z if kind == "pre_activation" else call.output for call in measured]
        tensors[kind] = {n: x for n, x in zip(names, found, strict=True) if x is not None}
    elements = [call.z.numel() for call in measured]
    units = [unit_count(call.z) if call.of_classes else 0 for call in measured]
    positions = [call.z[0].numel() // unit_count(call.z) for call in measured]
    normalized = [call.normalized for call in measured]
    has_gradient = [call.gradient is not None for call in measured]
    if logits is None:
        names, elements, units = [*names, OUTPUT], [*elements, 0], [*units, 0]
        positions, normalized = [*positions, 0], [*normalized, False]
        has_gradient = [*has_gradient, False]
        values = torch.cat([values, torch.full_like(values[:1], torch.nan)])
    terms = [] if logits is None else logits.terms
    same = len({term.function if term else None for term in terms}) == 1
    known = terms[0] if same else None
    return LayerValues(
        names, elements, units, positions, normalized, places, has_gradient, values, known, tensors
    )


def _numbered(names: list[str]) -> list[str]:
    """Number what is called several times: a, a#2, a#3."""
    seen: Counter[str] = Counter()
    numbered = []
    for name in names:
        seen[name] += 1
        numbered.append(name if seen[name] == 1 else f"{name}#{seen[name]}")
    return numbered


def _first(x: Any) -> Any:
    """Return the images that shares of units cover: all, where a unit has one number in each."""
    return x if x is None or x.ndim == 2 else x[:UNIT_IMAGES]


def _norms_and_maxima(tensors: list[Tensor]) -> Tensor:
    """Return L2 norm and largest |x| of each tensor, float64 (n, 2); NaN and Inf propagate."""
    # One flat tensor at a time. Stacking them or taking |x| would copy, reducing along a dimension
    # takes several times as long, and aminmax takes longer than amin and amax.
    flat = [flatten(x) for x in tensors]
    least = torch.stack([x.amin() for x in flat])
    maxima = torch.maximum(torch.stack([x.amax() for x in flat]), -least)
    # float64, since the squares of a vanished gradient underflow in float32.
    wide = torch.float32 if maxima.device.type == "mps" else torch.float64
    scale = torch.ones_like(maxima, dtype=wide)
    if maxima.dtype == torch.float64:  # squares of float64 underflow too: scale by the maximum
        scale = maxima.where(maxima > 0, 1.0)
        flat = [x / by for x, by in zip(flat, scale.unbind(), strict=True)]
    norms = torch.stack([torch.linalg.vector_norm(x, dtype=wide) for x in flat]) * scale
    return torch.stack([norms, maxima.to(wide)], dim=1)
