"""Predict the gradient profile of a net by mean-field theory, with nothing fitted.

All weights are assumed independent, with the second moment of their layer. Then the variance of z,
or of dL/dz, at one pixel is a weighted sum over pixels of the layer before, or after. So one
channel stands for all (Xiao et al. 2018, arXiv:1806.05393). Borders and strides are kept.

Where a skip connection is added to a branch, z is a normal number plus the output of earlier
layers, which a variance does not describe. (Without the nonlinearity after the addition it does:
Yang & Schoenholz 2017, arXiv:1712.08969.) There z is sampled, in several channels at each pixel.
A branch's weights are used nowhere else, so its part is independent of the rest, forward and
backward.

One direction of the error is not random. If phi is a rectifier, so that phi(c z) = c phi(z) for
c > 0, and biases are 0, the net behind a block's output x is linear along x: by Euler's theorem
x . dL/dx is the same number c for every block. So dL/dx has the component c / |x| along x, which
grows towards the input as fast as x grows away from it. That is faster than a random error grows,
since E[z^2; z > 0] > E[z^2] P(z > 0) where z has a positive mean. c is the sum of z dL/dz over the
logits z, without their biases. The rest is followed as a random error, into which each branch sends
the whole. Measured for ResNet-56 of width 64 (mean of 3 nets, 16 images, stem_stride 2): without
this dL/dz of the first layer was 0.18 decades below the net's, with it 0.08.

The theory holds for wide nets. In a narrow and deep net each layer multiplies the signal by a
random factor, and the typical product lies below its mean (Hanin & Nica 2018, arXiv:1812.05994).
With 56 layers of ReLU and sigma_w^2 = 2, mean of 3 nets, the largest error of z over the layers is
1.0 decades at width 16 and 0.09 at width 64; that of dL/dz is 0.16 and 0.05
(`python scripts/lab/benchmark.py theory --depths 56 --width 64`). If a small signal shrinks faster
than a large one, as with GELU and sigma_w^2 = 2, such deviations grow from layer to layer.

Nets have no norm, or batch norm at initialization, which `batch_norm.py` follows.

This file knows the way of a batch through a `ConvNet`, and back. `layers.py` knows its
layers, `mean_field.py` the integrals over an activation.

Shapes: B images, S channels, H by W pixels, K classes. Maps of squares are float64 (B, S, H, W).
They keep images and pixels apart, since a nonlinearity treats a mixture of variances differently
from their mean. S is 1 if one channel stands for all.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lab.theory.batch_norm import Covariance, typical_mean
from lab.theory.layers import Layer, applies, layers_of, second_moment
from lab.theory.mean_field import gaussian_moments
from project.models import ConvNet

# Numbers sampled for a ResNet's first z, and the least number of channels; later stages have more
# channels, as in the net. Other seeds moved no layer of 20 or 56 by more than 0.016 decades of z
# and 0.005 of dL/dz (4 seeds; 1 to 64 images).
_SAMPLES, _CHANNELS = 2**20, 16


@dataclass(frozen=True)
class Prediction:
    """log10 RMS over images, channels and pixels, layer by layer from input to output.

    `layers` are the modules whose input is the pre-activation z, then `head`, where z is the
    logits. `gradient` is that of dL/dz for every layer; L is the mean cross-entropy of the batch.
    `pre_activation` is that of z for all layers but the logits. These also depend on the
    correlation of the averaged pixels, which variances do not give.
    """

    layers: list[str]
    pre_activation: list[float]
    gradient: list[float]


@dataclass(frozen=True)
class _Step:
    """A layer that a batch has passed, as the way back needs it."""

    layer: Layer
    shape: torch.Size  # of the maps of its input
    divisor: float  # of the squared gradient, by a norm; else 1
    squared_z: Tensor  # E[z^2]
    squared_slope: Tensor  # E[phi'(z)^2]
    output: Tensor | None  # E[phi(z)^2] where z is sampled


@torch.no_grad()
def predict(net: ConvNet, images: Tensor, labels: Tensor) -> Prediction:
    """Predict the profile of z and of dL/dz for one batch: images (B, C, H, W), labels (B,).

    Two things are measured. The forward pass starts from the images: from E[x^2] at each pixel,
    and with norms from their covariance. The backward pass starts from E[(p - y)^2] of each image's
    class probabilities p. For these the net runs once, without gradient, in its present mode; the
    random state is restored. A net does not store the distribution of its weights, so each layer's
    actual E[w^2] and E[b^2] are used. Values beyond float64 become -inf, inf or NaN.

    Raises:
        ValueError: if the theory does not apply to this net, with the reason from `applies`; or if
            an activation is not elementwise.
    """
    reason = applies(net)
    if reason is not None:
        raise ValueError(reason)
    layers = layers_of(net)
    # On the CPU: maps are small, and not every accelerator has float64.
    steps = _forward(layers, images.cpu().double())
    logits, signed = _logits_and_gradient(net, images, labels)  # (B, K)
    # Each pixel has a share of 1 / HW in the average that the head takes.
    pixels = steps[-1].squared_slope[0, 0].numel()
    squared_weights = len(net.head.weight) * second_moment(net.head.weight) / pixels**2
    gradient_a = (squared_weights * signed.square().mean(dim=1)).view(-1, 1, 1, 1)
    conserved = (logits * signed).sum(dim=1) * _is_rectified(layers)
    return Prediction(
        layers=[layer.name for layer in layers] + ["head"],
        pre_activation=[_log10_rms(step.squared_z) for step in steps],
        gradient=[*_backward(steps, gradient_a, conserved), _log10_rms(signed.square())],
    )


def _forward(layers: list[Layer], images: Tensor) -> list[_Step]:
    """Follow float64 images through the layers."""
    generator = torch.Generator().manual_seed(0)  # its own: the global random state stays
    squared = images.square()  # E[a^2] of a layer's input a
    covariance = None if layers[0].norm is None else Covariance.of_images(images)  # of a
    a, shortcut = torch.empty(0), covariance  # if a skip connection uses it: sampled, covariance
    steps: list[_Step] = []
    for layer in layers:
        shape, divisor = squared.shape, 1.0
        if covariance is None:
            squared_z = layer.forward(squared)
        else:
            squared_z, covariance, divisor = covariance.normalized(layer, squared)
        if layer.sampled:
            if not steps:
                stem_channels = max(_CHANNELS, _SAMPLES // squared_z.numel())
            channels = stem_channels * layer.conv.out_channels // layers[0].conv.out_channels
            size = (len(images), channels, *squared_z.shape[2:])
            normal = torch.randn(size, generator=generator, dtype=squared_z.dtype)
            # Mean square 1 in each image: less noise from bright images, which dominate E[z^2].
            normal /= normal.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
            z = squared_z.sqrt() * normal
            if layer.skip is not None:
                if covariance is not None and shortcut is not None:
                    covariance = covariance.plus(shortcut, layer.skip, a.shape[1] / channels)
                a = a[:, :, :: layer.skip, :: layer.skip]
                a = F.pad(a, (0, 0, 0, 0, 0, channels - a.shape[1]))
                z, squared_z = z + a, squared_z + a.square()
            a, slope = _value_and_slope(layer.activation, z)
            squared, squared_slope = a.square(), slope.square()
            if covariance is not None:
                mean_slope = slope.mean(dim=1, keepdim=True)
                covariance = shortcut = covariance.activated(mean_slope, typical_mean(a))
        else:
            moments = layer.moments
            squared, squared_slope = moments.squared(squared_z), moments.squared_slope(squared_z)
            if covariance is not None:
                mean_slope, mean = moments.mean_slope(squared_z), moments.mean(squared_z)
                covariance = covariance.activated(mean_slope, mean)
        output = squared if layer.sampled else None
        steps.append(_Step(layer, shape, divisor, squared_z, squared_slope, output))
    return steps


def _backward(steps: list[_Step], gradient_a: Tensor, conserved: Tensor) -> list[float]:
    """Return log10 RMS of dL/dz of each step, from E[(dL/da)^2] of the last one's output.

    `conserved` is x . dL/dx of each image for the output x of every block, or 0: (B,).
    """
    gradients: list[float] = []
    skipping: tuple[Tensor, int] | None = None  # a skip connection's E[(dL/dz)^2] and stride
    for step in reversed(steps):
        along: Tensor | float = 0.0
        if step.output is not None:
            along = _along(conserved, step.output, step.layer.conv.out_channels)
            if step is steps[-1]:
                gradient_a = gradient_a * (1 - _share(along, gradient_a))
        rest, gradient_z = (x * step.squared_slope for x in (gradient_a, gradient_a + along))
        gradients.append(_log10_rms(gradient_z))
        gradient_a = step.layer.backward(gradient_z / step.divisor, step.shape)
        if skipping is not None:
            around, stride = skipping
            gradient_a = gradient_a.expand(step.shape).clone()
            gradient_a[:, :, ::stride, ::stride] += around[:, : step.shape[1]]
        skipping = None if step.layer.skip is None else (rest, step.layer.skip)
    return gradients[::-1]


def _value_and_slope(phi: nn.Module, z: Tensor) -> tuple[Tensor, Tensor]:
    """Return phi(z) and phi'(z)."""
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        value: Tensor = phi.forward(z * 1)  # a copy, for an in-place activation
        (slope,) = torch.autograd.grad(value.sum(), z)
    return value.detach(), slope


def _logits_and_gradient(net: ConvNet, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the logits without their biases, and dL/dlogits = (p - y) / B: both (B, K)."""
    with torch.random.fork_rng([images.device] if images.is_cuda else []):
        logits: Tensor = copy.deepcopy(net)(images)  # a norm's running statistics change
    logits = logits.cpu().double()
    gradient = (logits.softmax(dim=1) - F.one_hot(labels.cpu(), logits.shape[1])) / len(labels)
    return logits - net.head.bias.cpu().double(), gradient


def _is_rectified(layers: list[Layer]) -> bool:
    """Whether phi(c z) = c phi(z) with a mean that is not 0, and no layer has biases.

    A phi that is odd, as in a linear net, makes no mean, and a signal grows as a random error does.
    """
    mean = float(gaussian_moments(layers[0].activation, torch.ones(1))[0])
    return abs(mean) > 1e-6 and all(
        layer.norm is None and layer.moments.ratio_if_homogeneous is not None and layer.bias == 0
        for layer in layers
    )


def _along(conserved: Tensor, output: Tensor, channels: int) -> Tensor:
    """Return the square of dL/dx's component along x itself: x has mean squares (B, S, H, W).

    It is c x / |x|^2 with the `conserved` c of each image, (B,).
    """
    squared_norm = channels * output.mean(dim=1).sum(dim=(1, 2))
    length = (conserved / squared_norm).nan_to_num(0.0, math.inf, -math.inf)  # 0 / 0 if x is 0
    return length.square().view(-1, 1, 1, 1) * output


def _share(part: Tensor, whole: Tensor) -> Tensor:
    """Return for each image which share of the mean square is `part`'s, (B, 1, 1, 1)."""
    ratio = part.mean(dim=(1, 2, 3), keepdim=True) / whole.mean(dim=(1, 2, 3), keepdim=True)
    return ratio.nan_to_num(0.0).clamp(max=1.0)  # 0 / 0 where an image has no error left


def _log10_rms(squares: Tensor) -> float:
    return float(0.5 * squares.mean().log10())
