"""Clip gradients: each class changes a net's gradients in place, between backward and step.

Gradients must be accumulated and unscaled (AMP) before. This file knows nets and gradients, but
neither optimizers, precision nor Lightning.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class NoClip:
    """Leave the gradients as they are."""

    def __call__(self, net: nn.Module) -> None:
        """Do nothing."""


@dataclass(frozen=True)
class NormClip:
    """Clip by global norm: scale all gradients by one factor, so that their L2 norm <= `max_norm`.

    The ratios between layers do not change. Pascanu et al. 2013, "On the difficulty of training
    recurrent neural networks", algorithm 1. If the norm overflows float32, the factor is 0, and the
    step applies only momentum and weight decay. A single NaN makes every gradient NaN.

    Raises:
        ValueError: if `max_norm` is not above 0.
    """

    max_norm: float

    def __post_init__(self) -> None:
        _require_positive("max_norm", self.max_norm)

    def __call__(self, net: nn.Module) -> None:
        """Clip the gradients of `net` in place."""
        nn.utils.clip_grad_norm_(net.parameters(), self.max_norm)


@dataclass(frozen=True)
class ValueClip:
    """Clip by value: clamp every gradient element to [-clip_value, clip_value].

    Large elements shrink more than small ones, so the direction of the step and the ratios between
    layers change.

    Raises:
        ValueError: if `clip_value` is not above 0.
    """

    clip_value: float

    def __post_init__(self) -> None:
        _require_positive("clip_value", self.clip_value)

    def __call__(self, net: nn.Module) -> None:
        """Clip the gradients of `net` in place."""
        nn.utils.clip_grad_value_(net.parameters(), self.clip_value)


@dataclass(frozen=True)
class AdaptiveClip:
    """Adaptive gradient clipping (AGC): bound each unit's gradient norm by its weight norm.

    A unit i has the weights W_i of one output feature. Its gradient G_i is scaled by
    min(1, clip_factor · max(‖W_i‖, eps) / ‖G_i‖). Each bias or norm parameter is one unit. `eps` is
    the smallest norm assumed for weights, so that zero weights can move. Brock et al. 2021,
    "High-Performance Large-Scale Image Recognition Without Normalization", equation 3.

    As in that paper, the final linear layer is not clipped: the last `nn.Linear` in
    `net.modules()`, with its bias. It is the classifier if modules are declared in forward order.

    Raises:
        ValueError: if `clip_factor` or `eps` is not above 0.
    """

    clip_factor: float
    eps: float

    def __post_init__(self) -> None:
        _require_positive("clip_factor", self.clip_factor)
        _require_positive("eps", self.eps)

    @torch.no_grad()
    def __call__(self, net: nn.Module) -> None:
        """Clip the gradients of `net` in place."""
        linear = [module for module in net.modules() if isinstance(module, nn.Linear)]
        final = {id(parameter) for layer in linear[-1:] for parameter in layer.parameters()}
        for parameter in net.parameters():
            gradient = parameter.grad
            if gradient is None or id(parameter) in final:
                continue
            largest = self.clip_factor * _unit_norms(parameter).clamp(min=self.eps)
            # A zero gradient makes the quotient infinite; the clamp turns it into 1.
            gradient.mul_((largest / _unit_norms(gradient)).clamp(max=1))


def _unit_norms(tensor: Tensor) -> Tensor:
    """Return the L2 norm of each slice along dimension 0, to broadcast; of a vector, one norm."""
    inner = tuple(range(1, tensor.ndim)) or None
    norms: Tensor = torch.linalg.vector_norm(tensor, dim=inner, keepdim=True)
    return norms


def _require_positive(name: str, value: float) -> None:
    if not value > 0:
        raise ValueError(f"{name}={value}: must be > 0")
