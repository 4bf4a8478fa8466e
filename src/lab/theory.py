"""Predict the gradient profile of a net without norms by mean-field theory; nothing is fitted.

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

This file knows `ConvNet`. `mean_field.py` knows the integrals over an activation.

Shapes: B images, S channels, H by W pixels, K classes. Maps of squares are float64 (B, S, H, W).
They keep images and pixels apart, since a nonlinearity treats a mixture of variances differently
from their mean. S is 1 if one channel stands for all.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lab.mean_field import Moments, gaussian_moments, single_function
from project.models import ConvNet
from project.models.blocks import BasicBlock, SubsampleAndPad

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
class _Layer:
    """One convolution and the nonlinearity after it."""

    name: str  # of the nonlinearity
    conv: nn.Conv2d
    taps: nn.Conv2d  # one channel, every weight 1: sums over the pixels that a kernel sees
    second_moment: float  # E[w^2]
    bias: float  # E[b^2]
    activation: nn.Module
    moments: Moments
    skip: int | None  # stride of the skip connection that is added to z, or None
    sampled: bool  # whether z is sampled, since a skip connection uses phi(z)

    def forward(self, squared: Tensor) -> Tensor:
        """Return E[z^2] of the convolution's z, one channel for all, from E[a^2]."""
        summed: Tensor = self.taps(squared.mean(dim=1, keepdim=True))
        return self.conv.in_channels * self.second_moment * summed + self.bias

    def backward(self, gradient: Tensor, shape: torch.Size) -> Tensor:
        """Return E[(dL/da)^2], one channel for all, from E[(dL/dz)^2]; a has that `shape`."""
        # The transpose of the sums, for any padding.
        x = torch.zeros(shape[0], 1, *shape[2:], dtype=torch.float64, requires_grad=True)
        with torch.enable_grad():
            summed = self.taps(x)
        (back,) = torch.autograd.grad(summed, x, gradient.mean(dim=1, keepdim=True))
        return self.conv.out_channels * self.second_moment * back


def applies(net: ConvNet) -> str | None:
    """Return in one line why the theory does not apply to `net`, or None if it does.

    Whether the weights are freshly initialized is not checked, except for kernels with a tap that
    is 0 throughout.
    """
    for name, module in net.named_modules():
        own_name, kind = name.rpartition(".")[2], type(module).__name__
        if own_name == "shortcut" and not isinstance(module, nn.Identity | SubsampleAndPad):
            return f"the theory needs skip connections without weights, and {name} is a {kind}"
        if own_name == "branch" and not isinstance(module, nn.Identity):
            return f"the theory needs branches without a scale, and {name} is a {kind}"
        if own_name.startswith("norm") and not isinstance(module, nn.Identity):
            return f"the theory needs nets without a norm, and {name} is a {kind}"
        if isinstance(module, nn.Conv2d) and type(module) is not nn.Conv2d:
            return f"the theory needs weights that are used as they are, and {name} is a {kind}"
        if isinstance(module, nn.Conv2d) and bool((module.weight == 0).all(dim=(0, 1)).any()):
            return f"the theory needs independent weights, and {name} has taps that are all 0"
    return None


@torch.no_grad()
def predict(net: ConvNet, images: Tensor, labels: Tensor) -> Prediction:
    """Predict the profile of z and of dL/dz for one batch: images (B, C, H, W), labels (B,).

    Two things are measured. The forward pass starts from E[x^2] at each pixel of each image. The
    backward pass starts from E[(p - y)^2] of each image's class probabilities p. For these the net
    runs once, without gradient, in its present mode; the random state is restored. A net does not
    store the distribution of its weights, so each layer's actual E[w^2] and E[b^2] are used. Values
    beyond float64 become -inf, inf or NaN.

    Raises:
        ValueError: if the theory does not apply to this net, with the reason from `applies`; or if
            an activation is not elementwise.
    """
    reason = applies(net)
    if reason is not None:
        raise ValueError(reason)
    layers = _layers(net)

    generator = torch.Generator().manual_seed(0)  # its own: the global random state stays
    # On the CPU: maps are small, and not every accelerator has float64.
    squared = images.cpu().double().square()  # E[a^2] of a layer's input a
    a = torch.empty(0)  # sampled, if a skip connection uses it
    shapes, slopes, pre_activation = [], [], []  # of E[a^2], E[phi'(z)^2], log10 RMS of z
    outputs = []  # E[a^2] where z is sampled
    for layer in layers:
        shapes.append(squared.shape)
        squared_z = layer.forward(squared)
        if layer.sampled:
            if layer is layers[0]:
                stem_channels = max(_CHANNELS, _SAMPLES // squared_z.numel())
            channels = stem_channels * layer.conv.out_channels // layers[0].conv.out_channels
            size = (len(images), channels, *squared_z.shape[2:])
            normal = torch.randn(size, generator=generator, dtype=squared_z.dtype)
            # Mean square 1 in each image: less noise from bright images, which dominate E[z^2].
            normal /= normal.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
            z = squared_z.sqrt() * normal
            if layer.skip is not None:
                a = a[:, :, :: layer.skip, :: layer.skip]
                a = F.pad(a, (0, 0, 0, 0, 0, channels - a.shape[1]))
                z, squared_z = z + a, squared_z + a.square()
            a, slope = _value_and_slope(layer.activation, z)
            squared, squared_slope = a.square(), slope.square()
        else:
            squared = layer.moments.squared(squared_z)
            squared_slope = layer.moments.squared_slope(squared_z)
        pre_activation.append(_log10_rms(squared_z))
        slopes.append(squared_slope)
        outputs.append(squared if layer.sampled else None)

    logits, signed = _logits_and_gradient(net, images, labels)  # (B, K)
    conserved = (logits * signed).sum(dim=1) * _is_rectified(layers)
    logit_gradient = signed.square()
    gradients = [_log10_rms(logit_gradient)]  # from the logits back
    # Each pixel has a share of 1 / HW in the average that the head takes.
    squared_weights = len(net.head.weight) * _second_moment(net.head.weight)
    pixels = squared[0, 0].numel()
    gradient_a = (squared_weights * logit_gradient.mean(dim=1) / pixels**2).view(-1, 1, 1, 1)
    skipping: tuple[Tensor, int] | None = None  # a skip connection's E[(dL/dz)^2] and stride
    for layer, squared_slope, shape, output in zip(
        reversed(layers), reversed(slopes), reversed(shapes), reversed(outputs), strict=True
    ):
        along: Tensor | float = 0.0
        if output is not None:
            along = _along(conserved, output, layer.conv.out_channels)
            if layer is layers[-1]:
                gradient_a = gradient_a * (1 - _share(along, gradient_a))
        rest, gradient_z = gradient_a * squared_slope, (gradient_a + along) * squared_slope
        gradients.append(_log10_rms(gradient_z))
        gradient_a = layer.backward(gradient_z, shape)
        if skipping is not None:
            around, stride = skipping
            gradient_a = gradient_a.expand(shape).clone()
            gradient_a[:, :, ::stride, ::stride] += around[:, : shape[1]]
        skipping = None if layer.skip is None else (rest, layer.skip)
    return Prediction(
        layers=[layer.name for layer in layers] + ["head"],
        pre_activation=pre_activation,
        gradient=gradients[::-1],
    )


def _layers(net: ConvNet) -> list[_Layer]:
    """Pair every convolution with the nonlinearity that follows it."""
    layers: list[_Layer] = []
    tables: dict[object, Moments] = {}  # activations that are the same function share a table
    conv: nn.Conv2d | None = None
    block: BasicBlock | None = None
    residual = any(b.shortcut is not None for b in net.modules() if isinstance(b, BasicBlock))
    for name, module in net.named_modules():
        if isinstance(module, BasicBlock):
            block = module
        elif isinstance(module, nn.Conv2d):
            conv = module
        elif conv is not None and name.rpartition(".")[2].startswith("activation"):
            parameters = [tuple(p.flatten().tolist()) for p in module.parameters()]
            function = (type(module), str(module), module.training, *parameters)
            if function not in tables:
                tables[function] = Moments(module)
            ends = block is None or module is block.activation2  # the stem or a block
            skip = None
            if block is not None and ends and block.shortcut is not None:
                skip = block.conv1.stride[0]
            layers.append(
                _Layer(
                    name=name,
                    conv=conv,
                    taps=_one_channel(conv),
                    second_moment=_second_moment(conv.weight),
                    bias=0.0 if conv.bias is None else _second_moment(conv.bias),
                    activation=single_function(module),
                    moments=tables[function],
                    skip=skip,
                    sampled=residual and ends,
                )
            )
    return layers


def _one_channel(conv: nn.Conv2d) -> nn.Conv2d:
    """Build a convolution that adds up the pixels `conv` sees, with its stride and padding."""
    taps = nn.Conv2d(
        1,
        1,
        conv.kernel_size,  # type: ignore[arg-type]
        stride=conv.stride,  # type: ignore[arg-type]
        padding=conv.padding,  # type: ignore[arg-type]
        padding_mode=conv.padding_mode,
        bias=False,
        device="meta",  # constructing it elsewhere would draw random weights
        dtype=torch.float64,
    ).to_empty(device="cpu")
    nn.init.ones_(taps.weight)
    return taps


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
        logits: Tensor = net(images)
    logits = logits.cpu().double()
    gradient = (logits.softmax(dim=1) - F.one_hot(labels.cpu(), logits.shape[1])) / len(labels)
    return logits - net.head.bias.cpu().double(), gradient


def _is_rectified(layers: list[_Layer]) -> bool:
    """Whether phi(c z) = c phi(z) with a mean that is not 0, and no layer has biases.

    A phi that is odd, as in a linear net, makes no mean, and a signal grows as a random error does.
    """
    mean = float(gaussian_moments(layers[0].activation, torch.ones(1))[0])
    return abs(mean) > 1e-6 and all(
        layer.moments.ratio_if_homogeneous is not None and layer.bias == 0 for layer in layers
    )


def _along(conserved: Tensor, output: Tensor, channels: int) -> Tensor:
    """Return the square of dL/dx's component along x itself: x has mean squares (B, S, H, W).

    It is c x / |x|^2 with the `conserved` c of each image, (B,).
    """
    squared_norm = channels * output.mean(dim=1).sum(dim=(1, 2))
    return (conserved / squared_norm).square().view(-1, 1, 1, 1) * output


def _share(part: Tensor, whole: Tensor) -> Tensor:
    """Return for each image which share of the mean square is `part`'s, (B, 1, 1, 1)."""
    ratio = part.mean(dim=(1, 2, 3), keepdim=True) / whole.mean(dim=(1, 2, 3), keepdim=True)
    return ratio.nan_to_num(0.0).clamp(max=1.0)  # 0 / 0 where an image has no error left


def _second_moment(x: Tensor) -> float:
    return float(x.detach().cpu().double().square().mean())


def _log10_rms(squares: Tensor) -> float:
    return float(0.5 * squares.mean().log10())
