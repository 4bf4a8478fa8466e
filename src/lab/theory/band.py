"""The band of a net's profile: how far single initializations of it lie from each other.

A prediction for infinite width is the mean of z^2 over initializations. In a net of finite width
each layer multiplies the signal by a random factor, so that ln z^2 is itself random. For fully
connected ReLU layers of width n at criticality it is nearly normal, N(-beta/2, beta) with
beta = 5 sum 1/n (Hanin & Nica 2018, arXiv:1812.05994): its mean lies by half of its variance below
the logarithm of the mean. For convolutions no formula of the variance is known here, since it
depends on how alike the pixels are; so it is measured, over fresh initializations.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lab.probe.measure import measure

# A further one lies between the least and the largest of 19 with a probability of 18/20.
INITIALIZATIONS, IMAGES = 19, 8
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Band:
    """log10 RMS by layer, input to output, of n initializations: (n, L); the logits' last."""

    pre_activation: Floats
    gradient: Floats


def band(
    new_net: Callable[[], nn.Module],
    images: Tensor,
    labels: Tensor,
    seeds: range = range(1, 1 + INITIALIZATIONS),
) -> Band:
    """Measure fresh initializations on the first images of a batch: (B, C, H, W), labels (B,).

    `new_net` builds a net from torch's global random state, which is left as it was. dL/dz is that
    of the whole batch's mean loss, as in the record of a run. A batch norm here sees these images
    alone. At 20 layers this moved no layer's mean by more than 0.04 decades (batches of 64).
    """
    few = images[:IMAGES], labels[:IMAGES]
    share = math.log10(len(few[0]) / len(images))
    z, gradients = [], []
    with torch.random.fork_rng(devices=[]):
        for seed in seeds:
            torch.manual_seed(seed)
            flow = measure(new_net(), *few)
            z.append(flow.pre_activation)
            gradients.append(flow.gradient + share)
    return Band(np.stack(z), np.stack(gradients))


def ends(profiles: Floats) -> Floats:
    """Return the least and the largest of profiles (n, L), by layer: (2, L)."""
    return np.stack([profiles.min(axis=0), profiles.max(axis=0)])


def shift(profiles: Floats) -> Floats:
    """Return by how much the mean of log10 RMS lies below log10 of the mean square's root, (L,).

    For a log-normal square x the mean of ln x is ln E[x] - Var[ln x] / 2. In decades of RMS, whose
    variance is v, this is -v ln 10.
    """
    return np.asarray(-profiles.var(axis=0, ddof=1) * math.log(10))
