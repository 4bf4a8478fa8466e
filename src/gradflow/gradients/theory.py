"""The gradient profile of a plain net as mean-field theory predicts it, with nothing fitted.

Every weight is taken as independent, of its layer's own second moment; then the variance of z, and
of dL/dz, at one pixel is a weighted sum over pixels of the layer before, or after. So one channel
stands for all of them (Xiao et al. 2018, arXiv:1806.05393), with borders and strides as they are.

It holds for wide nets. In a narrow and deep one each layer multiplies the signal by a factor with a
spread of its own, and the typical product lies below the mean one (Hanin & Nica 2018,
arXiv:1812.05994): of 56 layers with ReLU and sigma_w^2 = 2, mean of 3 nets, the largest error of z
over the layers is 1.0 decades at width 16 and 0.09 at width 64; that of dL/dz 0.16 and 0.05
(`python scripts/benchmark.py theory --depths 56 --width 64`). Where a small signal shrinks faster
than a large one, as with GELU and sigma_w^2 = 2, such deviations feed on themselves.

Knows `ConvNet`; the integrals over an activation are `mean_field.py`'s.

Shapes: B images, H by W pixels, K classes. Maps of variances are float64 (B, 1, H, W): each image
and each pixel has its own, since no nonlinearity treats a mixture of variances as their mean.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradflow.gradients.mean_field import Moments
from gradflow.models import ConvNet


@dataclass(frozen=True)
class Prediction:
    """log10 RMS over images, channels and pixels, layer by layer from input to output.

    `layers` are the modules whose input is the pre-activation z, then `head`, where z is the
    logits. `gradient` is of dL/dz, L the mean cross-entropy of the batch, for every layer.
    `pre_activation` is of z, for all but the logits: those depend on how the pixels that are
    averaged before them are correlated, which is more than their variances.
    """

    layers: list[str]
    pre_activation: list[float]
    gradient: list[float]


@dataclass(frozen=True)
class _Layer:
    """One convolution and the nonlinearity after it, for one channel."""

    name: str  # of the nonlinearity
    taps: nn.Conv2d  # one channel, every weight 1: sums over the pixels that a kernel sees
    forward_weight: float  # C_in E[w^2]: what a pixel's E[a^2] adds to E[z^2]
    backward_weight: float  # C_out E[w^2]: what a pixel's E[(dL/dz)^2] adds to E[(dL/da)^2]
    bias: float  # E[b^2]
    moments: Moments


def applies(net: ConvNet) -> str | None:
    """Say in one line why the theory does not apply to `net`, or None if it does.

    That the weights are as an initializer drew them is not checked, but for kernels with a tap that
    is 0 throughout.
    """
    for name, module in net.named_modules():
        own_name = name.rpartition(".")[2]
        if own_name == "shortcut":
            return f"the theory is one of plain nets, and {name} is a skip connection"
        if own_name.startswith("norm") and not isinstance(module, nn.Identity):
            return (
                f"the theory is one of nets without a norm, and {name} is a {type(module).__name__}"
            )
        if isinstance(module, nn.Conv2d) and bool((module.weight == 0).all(dim=(0, 1)).any()):
            return f"the theory needs independent weights, and {name} has taps that are all 0"
    return None


@torch.no_grad()
def predict(net: ConvNet, images: Tensor, labels: Tensor) -> Prediction:
    """Predict the profile of z and of dL/dz for one batch: images (B, C, H, W), labels (B,).

    Two things are measured: E[x^2] at each pixel of each image, where the way forward begins, and
    E[(p - y)^2] of each image's class probabilities p, where the way back begins; the net runs once
    for that, without gradient, in its present mode, and random numbers go on as if it had not. What
    the weights were drawn from is not in a net, so each layer's realised E[w^2] and E[b^2] stand
    for it. What float64 cannot hold becomes -inf or inf.

    Raises:
        ValueError: the theory does not apply to this net, with `applies`'s reason; or an
            activation is not elementwise.
    """
    reason = applies(net)
    if reason is not None:
        raise ValueError(reason)
    layers = _layers(net)

    images_64 = images.cpu().double()  # maps are small, and not every accelerator has float64
    squared = images_64.square().mean(dim=1, keepdim=True)  # E[a^2] of what enters a layer
    variances = []  # of z
    for layer in layers:
        squared_sum = _taps_sum(layer, squared)
        variances.append(layer.forward_weight * squared_sum + layer.bias)
        squared = layer.moments.squared(variances[-1])
    inputs = [images_64, *variances[:-1]]  # in the shapes that the layers take

    gradient = _squared_logit_gradient(net, images, labels)  # (B, K)
    gradients = [gradient]  # E[(dL/dz)^2], from the logits back
    # Each pixel has a share of 1 / HW in the average that the head takes.
    squared_weights = len(net.head.weight) * _second_moment(net.head.weight)
    pixels = squared[0].numel()
    squared = (squared_weights * gradient.mean(dim=1) / pixels**2).view(-1, 1, 1, 1)
    for layer, variance, entering in zip(
        reversed(layers), reversed(variances), reversed(inputs), strict=True
    ):
        gradients.append(squared * layer.moments.squared_slope(variance))
        squared = layer.backward_weight * _taps_sum_back(layer, gradients[-1], entering)
    return Prediction(
        layers=[layer.name for layer in layers] + ["head"],
        pre_activation=[_log10_rms(variance) for variance in variances],
        gradient=[_log10_rms(gradient) for gradient in reversed(gradients)],
    )


def _layers(net: ConvNet) -> list[_Layer]:
    """Pair every convolution with the nonlinearity that follows it."""
    layers: list[_Layer] = []
    tables: dict[object, Moments] = {}  # activations that are one function share a table
    conv: nn.Conv2d | None = None
    for name, module in net.named_modules():
        if isinstance(module, nn.Conv2d):
            conv = module
        elif conv is not None and name.rpartition(".")[2].startswith("activation"):
            parameters = [tuple(p.flatten().tolist()) for p in module.parameters()]
            function = (type(module), str(module), module.training, *parameters)
            if function not in tables:
                tables[function] = Moments(module)
            second_moment = _second_moment(conv.weight)
            layers.append(
                _Layer(
                    name=name,
                    taps=_one_channel(conv),
                    forward_weight=conv.in_channels * second_moment,
                    backward_weight=conv.out_channels * second_moment,
                    bias=0.0 if conv.bias is None else _second_moment(conv.bias),
                    moments=tables[function],
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


def _taps_sum(layer: _Layer, x: Tensor) -> Tensor:
    out: Tensor = layer.taps(x)
    return out


def _taps_sum_back(layer: _Layer, gradient: Tensor, entering: Tensor) -> Tensor:
    """The transpose of `_taps_sum`, for any padding; `entering` has the shape it is to have."""
    with torch.enable_grad():
        x = torch.zeros_like(entering[:, :1], dtype=torch.float64, requires_grad=True)
        (back,) = torch.autograd.grad(layer.taps(x), x, gradient)
    return back


def _squared_logit_gradient(net: ConvNet, images: Tensor, labels: Tensor) -> Tensor:
    """The square of dL/dlogits = (p - y) / B: (B, K)."""
    with torch.random.fork_rng([images.device] if images.is_cuda else []):
        logits: Tensor = net(images)
    classes = F.one_hot(labels.cpu(), logits.shape[1])
    return ((logits.cpu().double().softmax(dim=1) - classes) / len(labels)).square()


def _second_moment(x: Tensor) -> float:
    return float(x.detach().cpu().double().square().mean())


def _log10_rms(squares: Tensor) -> float:
    return float(0.5 * squares.mean().log10())
