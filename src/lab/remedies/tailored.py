"""A Leaky-ReLU whose slope is tailored to the depth of the net (TAT).

Zhang, Botev & Martens 2022 (arXiv:2203.08120). In a deep ReLU net without norms and skip
connections all images end as nearly the same features. A slope nearer to 1 keeps them apart.
"""

from __future__ import annotations

import math

from torch import nn

_HALVINGS = 60  # of the interval 0 to 1: more than a float has bits


def leaky_relu(*, depth: int, correlation: float) -> nn.LeakyReLU:
    """Build the Leaky-ReLU with which unrelated inputs leave the last layer with `correlation`.

    `depth` counts weight layers; a nonlinearity lies between any two. Correlations are those of
    infinitely wide nets. The paper also scales the activation by sqrt(2 / (1 + slope^2)). That is
    the gain of Kaiming's initialization, which every initializer here puts into the weights.

    Raises:
        ValueError: if `depth` is below 2, or `correlation` is not between 0 and what ReLU has.
    """
    if depth < 2:
        raise ValueError(f"depth must be at least 2, got {depth}")
    layers = depth - 1
    most = last_correlation(0.0, layers)
    if not 0 < correlation < 1:
        raise ValueError(f"correlation must be between 0 and 1, got {correlation}")
    low, high = 0.0, 1.0  # the correlation falls with the slope
    if correlation >= most:
        return nn.LeakyReLU(0.0)  # a shallow net: ReLU keeps inputs apart well enough
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (
            (middle, high) if last_correlation(middle, layers) > correlation else (low, middle)
        )
    return nn.LeakyReLU((low + high) / 2)


def last_correlation(slope: float, layers: int) -> float:
    """Return the correlation of two unrelated inputs after `layers` nonlinearities, 0 to 1.

    For z1, z2 ~ N(0, 1) of correlation c, phi(z1) and phi(z2) have E[phi phi] / E[phi^2] =
    c + (1 - a)^2 / (pi (1 + a^2)) (sqrt(1 - c^2) - c arccos c): Cho & Saul 2009 for a = 0.
    """
    share = (1 - slope) ** 2 / (math.pi * (1 + slope**2))
    c = 0.0
    for _ in range(layers):
        c = min(c + share * (math.sqrt(1 - c * c) - c * math.acos(c)), 1.0)
    return c
