"""Gradient clipping: each class changes a net's gradients in place, between backward and step.

It knows nets and gradients, and nothing of optimizers, precision or Lightning. Gradients must be
complete by then: accumulated, and free of an AMP scale.
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
    """Scale all gradients by one factor, so that their joint L2 norm is at most `max_norm`.

    The ratios between layers stay as they are. Pascanu et al. 2013, "On the difficulty of training
    recurrent neural networks", algorithm 1. Where the norm overflows float32 the factor is 0, and
    the step changes nothing but momentum and weight decay; a NaN anywhere makes every gradient NaN.

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
    """Bring every element of every gradient into [-clip_value, clip_value].

    Large elements lose more than small ones, so the direction of the step changes, and with it the
    ratios between layers.

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
    """Adaptive gradient clipping (AGC): each unit's gradient is bounded by the size of its weights.

    For unit i, the weights W_i that lead into one output feature, the gradient G_i is scaled by
    min(1, clip_factor · max(‖W_i‖, eps) / ‖G_i‖). Biases and norm parameters are vectors, each one
    unit. Brock et al. 2021, "High-Performance Large-Scale Image Recognition Without Normalization",
    equation 3; `eps` lets weights that start at 0 move at all.

    As there, the final linear layer is left alone: here the last `nn.Linear` in `net.modules()`,
    with its bias, which is the classifier wherever modules are declared from input to output.

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
            # Where the gradient is 0 the quotient is infinite, and the clamp makes it 1.
            gradient.mul_((largest / _unit_norms(gradient)).clamp(max=1))


def _unit_norms(tensor: Tensor) -> Tensor:
    """L2 norm of each slice along dimension 0, in a shape that broadcasts; of all, for a vector."""
    inner = tuple(range(1, tensor.ndim)) or None
    norms: Tensor = torch.linalg.vector_norm(tensor, dim=inner, keepdim=True)
    return norms


def _require_positive(name: str, value: float) -> None:
    if not value > 0:
        raise ValueError(f"{name}={value}: must be > 0")
