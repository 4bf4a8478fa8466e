"""The gain that fits an activation: sigma_w, where a weight's variance is sigma_w^2 / fan.

Knows activations and one Gaussian integral, and nothing of nets or initializers.
"""

import copy
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

# Activations with a gain that the field has agreed on, looked up by exact class, so that a
# subclass with another formula is computed from the definition instead.
CONVENTIONAL_GAINS: dict[type[nn.Module], float] = {
    # As torch.nn.init.calculate_gain has it ("linear"); the definition gives 1 as well.
    nn.Identity: 1.0,
    # As torch.nn.init.calculate_gain has it. The definition would give 1.85.
    nn.Sigmoid: 1.0,
    # As torch.nn.init.calculate_gain has it, and before it Torch7. The definition would give 1.59.
    nn.Tanh: 5 / 3,
    # Klambauer et al. 2017 choose SELU's constants so that E[phi(z)^2] = 1.
    nn.SELU: 1.0,
}

HALF_RANGE = 12.0  # the normal density beyond is below 1e-31
NODES = 2**18  # midpoints; the error at a kink is of the order of the squared step, 1e-8 / 12


def gain_for(activation: nn.Module) -> float:
    """Give the gain with which E[z^2] stays the same from layer to layer.

    For rectifiers, with a the slope on the negative side, sqrt(2 / (1 + E[a^2])): He et al. 2015
    (https://arxiv.org/abs/1502.01852, eq. 15). ReLU has a = 0; PReLU its present, which is its
    initial, slope; RReLU draws a uniformly in [lower, upper] while training, and training is what
    an initialization is for. Sigmoid, tanh, SELU and the identity: `CONVENTIONAL_GAINS`. Every
    other elementwise activation phi, ELU and GELU for instance: 1 / sqrt(E[phi(z)^2]) with
    z ~ N(0, 1), by quadrature.

    Raises:
        ValueError: the activation is not elementwise, or E[phi(z)^2] is 0 or not finite.
    """
    conventional = CONVENTIONAL_GAINS.get(type(activation))
    if conventional is not None:
        return conventional
    mean_squared_slope = _mean_squared_slope(activation)
    if mean_squared_slope is not None:
        return math.sqrt(2 / (1 + mean_squared_slope))
    # On the CPU and in float64, wherever and whatever the activation's own parameters are.
    phi = copy.deepcopy(activation).to(device="cpu", dtype=torch.float64)
    second_moment = gaussian_mean(lambda z: phi(z).square())
    if not 0 < second_moment < math.inf:
        raise ValueError(f"{activation} has no gain: E[phi(z)^2] is {second_moment} for normal z")
    return 1 / math.sqrt(second_moment)


def _mean_squared_slope(activation: nn.Module) -> float | None:
    """E[a^2] of a rectifier z -> z if z > 0 else a z; None for anything else."""
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
    """Give E[function(z)] for z ~ N(0, 1), in float64, by the midpoint rule.

    An even number of midpoints has no node at 0, where most activations have a kink, and where a
    derivative that jumps, such as SELU's, would be read on one side only.

    Args:
        function: elementwise, float64 (N,) -> (N,).

    Raises:
        ValueError: the function changes the shape.
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
