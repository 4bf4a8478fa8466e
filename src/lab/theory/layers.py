"""The layers of a net as mean-field theory sees them, and which nets it covers.

A layer is a convolution, a batch norm or none, and a nonlinearity. All weights of a convolution are
taken as independent, with the same second moment. Then the square of its output, or of the gradient
that it passes back, is a weighted sum over pixels, alike for all channels.

This file knows `ConvNet`. `predict.py` follows a batch through the layers, `batch_norm.py` through
a batch norm.

Shapes: B images, S channels, H by W pixels. Maps are float64 (B, S, H, W).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lab.theory.mean_field import Moments, single_function
from project.models import ConvNet
from project.models.blocks import BasicBlock, SubsampleAndPad


@dataclass(frozen=True)
class Layer:
    """One convolution, the norm after it if there is one, and the nonlinearity."""

    name: str  # of the nonlinearity
    conv: nn.Conv2d
    norm: nn.BatchNorm2d | None
    taps: nn.Conv2d  # from one channel to one for each tap of the kernel: the pixels that it sees
    second_moment: float  # E[w^2]
    bias: float  # E[b^2]
    activation: nn.Module
    moments: Moments
    skip: int | None  # stride of the skip connection that is added to z, or None
    sampled: bool  # whether z is sampled, since a skip connection uses phi(z)

    @property
    def scale(self) -> float:
        """C_in E[w^2]: turns a sum over the kernel's taps of E[a^2] into E[h^2]."""
        return self.conv.in_channels * self.second_moment

    def forward(self, squared: Tensor) -> Tensor:
        """Return E[h^2] of the convolution's output h, one channel for all, from E[a^2]."""
        summed: Tensor = self.taps(squared.mean(dim=1, keepdim=True)).sum(dim=1, keepdim=True)
        return self.scale * summed + self.bias

    def backward(self, gradient: Tensor, shape: torch.Size) -> Tensor:
        """Return E[(dL/da)^2], one channel for all, from E[(dL/dh)^2]; a has that `shape`."""
        # The transpose of the sums, for any padding.
        x = torch.zeros(shape[0], 1, *shape[2:], dtype=torch.float64, requires_grad=True)
        with torch.enable_grad():
            summed = self.taps(x).sum(dim=1, keepdim=True)
        (back,) = torch.autograd.grad(summed, x, gradient.mean(dim=1, keepdim=True))
        return self.conv.out_channels * self.second_moment * back


def applies(net: ConvNet) -> str | None:
    """Return in one line why the theory does not apply to `net`, or None if it does.

    Whether convolutions are freshly initialized is not checked, except for kernels with a tap that
    is 0 throughout.
    """
    for name, module in net.named_modules():
        own_name, kind = name.rpartition(".")[2], type(module).__name__
        if own_name == "shortcut" and not isinstance(module, nn.Identity | SubsampleAndPad):
            return f"the theory needs skip connections without weights, and {name} is a {kind}"
        if own_name == "branch" and not isinstance(module, nn.Identity):
            return f"the theory needs branches without a scale, and {name} is a {kind}"
        if own_name.startswith("norm") and not isinstance(module, nn.Identity):
            if type(module) is not nn.BatchNorm2d:
                return f"the theory needs batch norm or no norm, and {name} is a {kind}"
            if not module.training and module.track_running_stats:
                return f"the theory needs norms over the batch, and {name} uses running statistics"
            if module.affine and not (bool((module.weight == 1).all() & (module.bias == 0).all())):
                return f"the theory needs new norms, and {name} has weights not 1 or biases not 0"
        if isinstance(module, nn.Conv2d) and type(module) is not nn.Conv2d:
            return f"the theory needs weights that are used as they are, and {name} is a {kind}"
        if isinstance(module, nn.Conv2d) and bool((module.weight == 0).all(dim=(0, 1)).any()):
            return f"the theory needs independent weights, and {name} has taps that are all 0"
    return None


def layers_of(net: ConvNet) -> list[Layer]:
    """Pair every convolution with the norm and the nonlinearity that follow it."""
    layers: list[Layer] = []
    tables: dict[object, Moments] = {}  # activations that are the same function share a table
    conv: nn.Conv2d | None = None
    norm: nn.BatchNorm2d | None = None
    block: BasicBlock | None = None
    residual = any(b.shortcut is not None for b in net.modules() if isinstance(b, BasicBlock))
    for name, module in net.named_modules():
        if isinstance(module, BasicBlock):
            block = module
        elif isinstance(module, nn.Conv2d):
            conv, norm = module, None
        elif isinstance(module, nn.BatchNorm2d):
            norm = module
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
                Layer(
                    name=name,
                    conv=conv,
                    norm=norm,
                    taps=_taps(conv),
                    second_moment=second_moment(conv.weight),
                    bias=0.0 if conv.bias is None else second_moment(conv.bias),
                    activation=single_function(module),
                    moments=tables[function],
                    skip=skip,
                    sampled=residual and ends,
                )
            )
    return layers


def _taps(conv: nn.Conv2d) -> nn.Conv2d:
    """Build a convolution that gives each pixel `conv` sees, with its stride and padding."""
    height, width = conv.kernel_size
    taps = nn.Conv2d(
        1,
        height * width,
        conv.kernel_size,  # type: ignore[arg-type]
        stride=conv.stride,  # type: ignore[arg-type]
        padding=conv.padding,  # type: ignore[arg-type]
        padding_mode=conv.padding_mode,
        bias=False,
        device="meta",  # constructing it elsewhere would draw random weights
        dtype=torch.float64,
    ).to_empty(device="cpu")
    with torch.no_grad():
        taps.weight.copy_(torch.eye(height * width).view_as(taps.weight))
    return taps


def second_moment(x: Tensor) -> float:
    """Return the mean square of all elements of x."""
    return float(x.detach().cpu().double().square().mean())
