"""Compute an activation's gain sigma_w, for weights of variance sigma_w^2 / fan.

Knows activations and one Gaussian integral, but neither nets nor initializers.
"""

import copy
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

# Conventional gains, looked up by exact class: a subclass may have another formula, so its gain is
# computed from the definition.
CONVENTIONAL_GAINS: dict[type[nn.Module], float] = {
    # As in torch.nn.init.calculate_gain ("linear"); the definition also gives 1.
    nn.Identity: 1.0,
    # As in torch.nn.init.calculate_gain; the definition would give 1.85.
    nn.Sigmoid: 1.0,
    # As in torch.nn.init.calculate_gain and Torch7; the definition would give 1.59.
    nn.Tanh: 5 / 3,
    # Klambauer et al. 2017 choose SELU's constants so that E[phi(z)^2] = 1.
    nn.SELU: 1.0,
}

HALF_RANGE = 12.0  # beyond it, the normal density is below 1e-31
NODES = 2**18  # midpoints; the error at a kink is of the order of the squared step, 1e-8 / 12


def gain_for(activation: nn.Module) -> float:
    """Return the gain that keeps E[z^2] the same from layer to layer.

    Rectifiers with a negative slope a: sqrt(2 / (1 + E[a^2])), He et al. 2015
    (https://arxiv.org/abs/1502.01852, eq. 15). ReLU has a = 0, PReLU its current slope. RReLU draws
    a uniformly from [lower, upper], as in training. Sigmoid, tanh, SELU and the identity:
    `CONVENTIONAL_GAINS`. Any other elementwise activation phi, such as ELU and GELU:
    1 / sqrt(E[phi(z)^2]) with z ~ N(0, 1), by quadrature.

    Raises:
        ValueError: if the activation is not elementwise, or E[phi(z)^2] is 0 or not finite.
    """
    conventional = CONVENTIONAL_GAINS.get(type(activation))
    if conventional is not None:
        return conventional
    mean_squared_slope = _mean_squared_slope(activation)
    if mean_squared_slope is not None:
        return math.sqrt(2 / (1 + mean_squared_slope))
    # On the CPU in float64, whatever the device and type of the activation's parameters.
    phi = copy.deepcopy(activation).to(device="cpu", dtype=torch.float64)
    second_moment = gaussian_mean(lambda z: phi(z).square())
    if not 0 < second_moment < math.inf:
        raise ValueError(f"{activation} has no gain: E[phi(z)^2] is {second_moment} for normal z")
    return 1 / math.sqrt(second_moment)


def _mean_squared_slope(activation: nn.Module) -> float | None:
    """Return E[a^2] of a rectifier z -> z if z > 0 else a z; None for any other activation."""
    if type(activation) is nn.ReLU:
        return 0.0
    if type(activation) is nn.LeakyReLU:
        return activation.negative_slope**2
    if type(activation) is nn.PReLU:
        return float(activation.weight.detach().double().square().mean())
    if type(activation) is nn.RReLU:
        lower, upper = activation.lower, activation.upper
        return (lower**2 + lower * upper + upper**2) / 3
    return None


@torch.no_grad()
def gaussian_mean(function: Callable[[Tensor], Tensor]) -> float:
    """Return E[function(z)] for z ~ N(0, 1), in float64, by the midpoint rule.

    The number of midpoints is even, so that none is at 0. Most activations have a kink there, and
    a derivative that jumps, such as SELU's, would be sampled on one side only.

    Args:
        function: elementwise, float64 (N,) -> (N,).

    Raises:
        ValueError: if the function changes the shape.
    """
    step = 2 * HALF_RANGE / NODES
    z = (torch.arange(NODES, dtype=torch.float64, device="cpu") + 0.5) * step - HALF_RANGE
    values = function(z)
    if values.shape != z.shape:
        raise ValueError(
            f"an activation must be elementwise, got {tuple(values.shape)} from {tuple(z.shape)}"
        )
    density = torch.exp(-0.5 * z.square()) / math.sqrt(2 * math.pi)
    return float((values * density).sum() * step)
