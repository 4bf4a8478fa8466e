"""Initialize the weights of a whole net in place; functions have the field's names.

Every function takes the net, the factory of its activation and its own keys. One gain applies to
all convolutions and linear layers, including the head, as mean-field theory assumes. Biases become
0 (`gaussian` may draw them), norm weights 1. Random numbers come from torch's global generator.
The functions know layers, but not a net's layout; only `zero_residual` knows the block.

With L pixels in a layer's kernel (9 for 3x3, 1 for linear), fan_in = C_in L and fan_out = C_out L.
"""

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from gradflow.gradients.gains import gain_for
from project.models.blocks import ActivationFactory, BasicBlock

WeightLayer = nn.Conv2d | nn.Linear
Fan = Literal["fan_in", "fan_out"]


def default(net: nn.Module, activation: ActivationFactory) -> None:
    """Keep PyTorch's default: weights and biases uniform in +-1/sqrt(fan_in).

    The weight variance is 1/(3 fan_in), a gain of 0.577 for every activation.
    """


def xavier_uniform(net: nn.Module, activation: ActivationFactory, *, gain: float | None) -> None:
    """Draw uniform weights of variance gain^2 2/(fan_in + fan_out): Glorot & Bengio 2010, eq. 16.

    Glorot's own gain is 1; None means the activation's gain.
    """
    g = _gain(gain, activation)
    _set_layers(net, lambda _, layer: nn.init.xavier_uniform_(layer.weight, g))


def xavier_normal(net: nn.Module, activation: ActivationFactory, *, gain: float | None) -> None:
    """Draw normal weights of variance gain^2 2/(fan_in + fan_out): Glorot & Bengio 2010, eq. 12.

    Glorot's own gain is 1; None means the activation's gain.
    """
    g = _gain(gain, activation)
    _set_layers(net, lambda _, layer: nn.init.xavier_normal_(layer.weight, g))


def kaiming_uniform(
    net: nn.Module, activation: ActivationFactory, *, gain: float | None, mode: Fan
) -> None:
    """Draw uniform weights of variance gain^2/fan: He et al. 2015 (arXiv:1502.01852), eq. 10, 14.

    `mode` is the fan: fan_in preserves the size of pre-activations, fan_out that of gradients.
    A gain of None means the activation's gain.
    """
    g = _gain(gain, activation)
    _set_layers(
        net, lambda _, layer: _fill_uniform(layer.weight, _kaiming_std(layer.weight, g, mode))
    )


def kaiming_normal(
    net: nn.Module, activation: ActivationFactory, *, gain: float | None, mode: Fan
) -> None:
    """Draw normal weights of variance gain^2/fan: He et al. 2015 (arXiv:1502.01852), eq. 10, 14.

    `mode` is the fan: fan_in preserves the size of pre-activations, fan_out that of gradients.
    A gain of None means the activation's gain. A gain of 1 with fan_in is LeCun's initialization.
    """
    g = _gain(gain, activation)
    _set_layers(
        net, lambda _, layer: _fill_normal(layer.weight, _kaiming_std(layer.weight, g, mode))
    )


def orthogonal(net: nn.Module, activation: ActivationFactory, *, gain: float | None) -> None:
    """Draw random orthogonal weights, times the gain: Saxe et al. 2013 (arXiv:1312.6120).

    A kernel is a matrix W with C_out rows and fan_in columns: W W^T = gain^2 I, or W^T W = gain^2 I
    if it has more rows than columns. A gain of None means the activation's gain.
    """
    g = _gain(gain, activation)
    _set_layers(net, lambda _, layer: nn.init.orthogonal_(layer.weight, g))


def delta_orthogonal(net: nn.Module, activation: ActivationFactory, *, gain: float | None) -> None:
    """Set kernels to 0 except their centre, a random matrix H with H^T H = gain^2 I.

    Xiao et al. 2018 (arXiv:1806.05393), algorithm 2. A convolution with stride 1 then multiplies
    every image's norm by exactly the gain, including borders. If C_out > C_in, the norm is spread
    over more channels, so the variance of each falls by C_in / C_out. The head has fewer outputs
    than inputs and becomes `orthogonal`, H H^T = gain^2 I. A gain of None means the activation's.

    Raises:
        ValueError: if no such kernel exists for a convolution: fewer output than input channels,
            several groups, or a kernel without a centre.
    """
    g = _gain(gain, activation)
    _set_layers(net, lambda name, layer: _fill_delta_orthogonal(name, layer, g))


def zero_residual(
    net: nn.Module, activation: ActivationFactory, *, gain: float | None, mode: Fan
) -> None:
    """Initialize as `kaiming_normal`, with the last norm's weight 0 in each residual branch.

    Every block then starts as its shortcut: Goyal et al. 2017 (arXiv:1706.02677), 5.1.

    Raises:
        ValueError: if the net has no skip connection, or no norm with a weight in its branches.
    """
    blocks = [m for m in net.modules() if isinstance(m, BasicBlock) and m.shortcut is not None]
    if not blocks:
        raise ValueError("init zero_residual needs a net with skip connections: model.skip=true")
    last_norm_weights: list[Tensor] = []
    for block in blocks:
        weight = getattr(block.norm2, "weight", None)
        if not isinstance(weight, Tensor):
            raise ValueError(
                f"init zero_residual needs a norm with a weight, such as norm=batch; "
                f"the residual branches end in {block.norm2}"
            )
        last_norm_weights.append(weight)
    kaiming_normal(net, activation, gain=gain, mode=mode)
    for weight in last_norm_weights:
        nn.init.zeros_(weight)


def gaussian(
    net: nn.Module,
    activation: ActivationFactory,
    *,
    weight_variance: float,
    bias_variance: float,
) -> None:
    """Draw normal weights of variance weight_variance / fan_in, and biases of bias_variance.

    These are sigma_w^2 and sigma_b^2 of mean-field theory: Poole et al. 2016 (arXiv:1606.05340),
    Schoenholz et al. 2017 (arXiv:1611.01232).

    Raises:
        ValueError: if a variance is out of range, or bias_variance > 0 and a layer has no bias.
    """
    if not 0 < weight_variance < math.inf:
        raise ValueError(f"init weight_variance must be positive and finite, got {weight_variance}")
    if not 0 <= bias_variance < math.inf:
        raise ValueError(f"init bias_variance must be at least 0 and finite, got {bias_variance}")
    for name, module in net.named_modules():
        if bias_variance > 0 and isinstance(module, WeightLayer) and module.bias is None:
            raise ValueError(
                f"init bias_variance={bias_variance} needs biases, and {name} has none, as "
                "before a norm; use norm=none or bias_variance=0"
            )
    sigma_w = math.sqrt(weight_variance)
    _set_layers(
        net,
        lambda _, layer: _fill_normal(layer.weight, _kaiming_std(layer.weight, sigma_w, "fan_in")),
    )
    for module in net.modules():
        if bias_variance > 0 and isinstance(module, WeightLayer) and module.bias is not None:
            nn.init.normal_(module.bias, 0, math.sqrt(bias_variance))


def _gain(gain: float | None, activation: ActivationFactory) -> float:
    """Return `gain`, or the activation's gain for None."""
    if gain is None:
        return gain_for(activation())
    if not 0 < gain < math.inf:
        raise ValueError(f"init gain must be positive and finite, or null, got {gain}")
    return gain


@torch.no_grad()
def _set_layers(net: nn.Module, fill: Callable[[str, WeightLayer], object]) -> None:
    """Fill the weights of all convolutions and linear layers; biases 0; norms weight 1, bias 0."""
    for name, module in net.named_modules():
        if isinstance(module, WeightLayer):
            fill(name, module)
            if module.bias is not None:
                module.bias.zero_()
        elif isinstance(module, nn.BatchNorm2d | nn.InstanceNorm2d | nn.GroupNorm | nn.LayerNorm):
            module.reset_parameters()


def _fans(weight: Tensor) -> tuple[int, int]:
    """Return fan_in and fan_out of a weight of shape (C_out, C_in, kernel height, kernel width)."""
    return weight[0].numel(), weight[:, 0].numel()


def _kaiming_std(weight: Tensor, gain: float, mode: Fan) -> float:
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"init mode must be fan_in or fan_out, got {mode}")
    fan_in, fan_out = _fans(weight)
    return gain / math.sqrt(fan_in if mode == "fan_in" else fan_out)


def _fill_normal(weight: Tensor, std: float) -> None:
    weight.normal_(0, std)


def _fill_uniform(weight: Tensor, std: float) -> None:
    bound = math.sqrt(3) * std  # the variance of U(-b, b) is b^2 / 3
    weight.uniform_(-bound, bound)


def _fill_delta_orthogonal(name: str, layer: WeightLayer, gain: float) -> None:
    if isinstance(layer, nn.Linear):
        nn.init.orthogonal_(layer.weight, gain)
        return
    out_channels, in_channels, height, width = layer.weight.shape
    if out_channels < in_channels or layer.groups != 1 or height % 2 == 0 or width % 2 == 0:
        raise ValueError(
            "init delta_orthogonal needs out_channels >= in_channels, one group and an odd kernel, "
            f"got {name}: {layer}"
        )
    centre = layer.weight.new_empty(out_channels, in_channels)
    nn.init.orthogonal_(centre, gain)
    layer.weight.zero_()
    layer.weight[:, :, height // 2, width // 2] = centre
