"""Follow a batch through batch norm: which variance each norm divides by, and what is left.

Batch norm turns a channel h into z = (h - its mean) / sqrt(v + eps), where v is the variance of h
over the points of the batch, that is, its images and pixels. With random weights h is a normal
field over these points. If its covariance K had many eigenvalues alike, v would be the same in each
channel, and z normal. But images are alike, and so are pixels. After the first convolution of
CIFAR-10, K has about 3 eigenvalues that count, after the second 15, later 30 to 70. That matters:

- v differs from channel to channel, so that E[1 / v] exceeds 1 / E[v];
- the larger an eigenvalue, the more does v grow with that part of h, which z has less of.

Both follow exactly for normal h (as in Yang et al. 2019, arXiv:1902.08129). Let the eigenvalues
lambda_j sum to 1, with those of K beyond the first few as a remainder r that is spread evenly:

    E[1 / v] = integral of D(t) dt from 0,    D(t) = exp(-r t) product of (1 + 2 lambda_j t)^(-1/2)

and eigenvalue j of z's covariance is the integral of D(t) lambda_j / (1 + 2 lambda_j t).
Without it, the contrast between images would grow from layer to layer, and with ReLU and 20 layers
dL/dz of a plain net's first layer would be predicted 0.3 decades too low.

K is kept as a few maps whose products sum to it. A nonlinearity multiplies the covariance between
two different points by E[phi'] at each, to first order in their correlation; higher orders count
as noise, independent from point to point. Backward, the squared gradient is multiplied by
E[1 / v]. The parts along 1 and z that batch norm's backward pass subtracts are neglected.

Shapes: B images, R maps, H by W pixels, T taps of a kernel. Maps are float64 (B, R, H, W).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from lab.theory.layers import Layer

# Eigenvalues that are kept. With 32 no layer of 20 or 56 moved by more than 0.001 decades of dL/dz
# for ReLU, and 0.03 for sigmoid, whose nets keep images alike (one plain net, two ResNets).
_MAPS = 16

# The integral runs over t by the midpoint rule in log t.
_LOG_T = torch.linspace(-16, 20, 1441, dtype=torch.float64)


@dataclass(frozen=True)
class Covariance:
    """The covariance of one channel's values between the points of a batch, and their means.

    Between two different points it is the sum over `maps` of their products, (B, R, H, W). `mean`
    is E[a] at each point, (B, 1, H, W). If channels differ in their mean, it stands for all.
    """

    maps: Tensor
    mean: Tensor

    @classmethod
    def of_images(cls, images: Tensor) -> Covariance:
        """Take the channels of images as they are: (B, C, H, W)."""
        return cls(images / images.shape[1] ** 0.5, torch.zeros_like(images[:, :1]))

    def normalized(self, layer: Layer, squared: Tensor) -> tuple[Tensor, Covariance, float]:
        """Return E[z^2] and the covariance of z behind the layer's norm, and 1 / E[1 / (v + eps)].

        `self` and `squared`, which is E[a^2], are those of the layer's input a.
        """
        maps = torch.cat([self.maps, self.mean], dim=1)
        alone = squared.mean(dim=1, keepdim=True) - maps.square().sum(dim=1, keepdim=True)
        assert layer.norm is not None
        # float32 halves the time, most of which is spent here.
        taps, single = copy.deepcopy(layer.taps).float(), maps.float()
        seen = taps(single.flatten(0, 1)[:, None]).unflatten(0, maps.shape[:2]).flatten(1, 2)
        seen = seen - seen.mean(dim=(0, 2, 3), keepdim=True)  # (B, (R + 1) T, H, W)
        noise = layer.taps(alone.clamp_min(0)).sum(dim=1, keepdim=True)
        whole = layer.scale * (seen.square().sum(dim=1, keepdim=True) + noise)
        size = float(whole.mean()) + layer.norm.eps
        maps, eigenvalues = _principal((layer.scale / size) ** 0.5 * seen)
        alone = whole / size - maps.square().sum(dim=1, keepdim=True)
        inverse, shrunk = shrink(eigenvalues, 1 - float(eigenvalues.sum()))
        maps = maps * (shrunk / eigenvalues.clamp_min(1e-300)).sqrt()[:, None, None]
        squared_z = maps.square().sum(dim=1, keepdim=True) + inverse * alone.clamp_min(0)
        return squared_z, Covariance(maps, torch.zeros_like(squared_z)), size / inverse

    def plus(self, shortcut: Covariance, stride: int, share: float) -> Covariance:
        """Add what a skip connection of this stride brings to a `share` of the channels."""
        around = share**0.5 * shortcut.maps[:, :, ::stride, ::stride]
        maps, _ = _principal(torch.cat([self.maps, around], dim=1))
        return Covariance(maps, self.mean)

    def activated(self, mean_slope: Tensor, mean: Tensor) -> Covariance:
        """Apply a nonlinearity, from E[phi'] and the means of its output: (B, 1, H, W)."""
        return Covariance(mean_slope * self.maps, mean)


def typical_mean(a: Tensor) -> Tensor:
    """Return one mean at each point for sampled channels (B, S, H, W) that may differ in theirs.

    Channels with a larger mean count more, so that its mean square over the points is that of the
    channels' means: (B, 1, H, W).
    """
    of_channels = a.mean(dim=(0, 2, 3), keepdim=True)
    weights = of_channels / of_channels.square().mean().sqrt().clamp_min(1e-300)
    return (a * weights).mean(dim=1, keepdim=True)


def _principal(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Return the `_MAPS` principal maps of the sum of products, and their mean squares."""
    flat = maps.transpose(0, 1).flatten(1)
    eigenvalues, vectors = torch.linalg.eigh(flat @ flat.T / flat.shape[1])
    eigenvalues, vectors = eigenvalues[-_MAPS:].clamp_min(0), vectors[:, -_MAPS:]
    points = (len(maps), *maps.shape[2:])
    principal = (vectors.T @ flat).unflatten(1, points).transpose(0, 1)
    return principal.double(), eigenvalues.double()


def shrink(eigenvalues: Tensor, rest: float) -> tuple[float, Tensor]:
    """Return E[1 / v] for eigenvalues (R,) and a rest that is spread evenly, and z's eigenvalues.

    Their sum with `rest` is E[v + eps] = 1; eps is in the rest.
    """
    t = _LOG_T.exp()
    damping = 1 + 2 * t[:, None] * eigenvalues
    weights = t * (-rest * t - 0.5 * damping.log().sum(dim=1)).exp() * (_LOG_T[1] - _LOG_T[0])
    return float(weights.sum()), (weights[:, None] * eigenvalues / damping).sum(dim=0)
