"""The two-convolution block of He et al. 2015, with or without its shortcut.

Knows one block; `convnet.py` decides how many there are and how wide. Shapes: B images, C_in and
C_out channels, H by W pixels, stride s.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

ActivationFactory = Callable[[], nn.Module]
NormFactory = Callable[[int], nn.Module]
BranchFactory = Callable[[int, int], nn.Module]  # from channels and the net's residual blocks
Padding = Literal["zeros", "circular"]


def conv3x3(
    in_channels: int, out_channels: int, *, stride: int, norm: nn.Module, padding: Padding
) -> nn.Conv2d:
    """Build a 3x3 convolution with padding 1, to be followed by `norm`.

    It has a bias only if `norm` is an Identity. Any other norm would subtract that bias, and has a
    bias of its own.
    """
    bias = isinstance(norm, nn.Identity)
    return nn.Conv2d(
        in_channels, out_channels, 3, stride=stride, padding=1, padding_mode=padding, bias=bias
    )


def conv_norm_activation(
    in_channels: int,
    out_channels: int,
    *,
    stride: int,
    activation: ActivationFactory,
    norm: NormFactory,
    padding: Padding,
) -> nn.Sequential:
    """Build the stem of a net: modules named `conv`, `norm` and `activation`, in sequence."""
    norm_layer = norm(out_channels)
    conv = conv3x3(in_channels, out_channels, stride=stride, norm=norm_layer, padding=padding)
    return nn.Sequential(
        OrderedDict(conv=conv, norm=norm_layer, activation=new_activation(activation))
    )


def new_activation(activation: ActivationFactory) -> nn.Module:
    """Build one nonlinearity.

    Raises ValueError if it works in place: it would overwrite the pre-activation, which gradient
    measurements need.
    """
    module = activation()
    if getattr(module, "inplace", False):
        raise ValueError(
            f"activation {module} overwrites its pre-activation; it must have inplace=False"
        )
    return module


class SubsampleAndPad(nn.Module):
    """Shortcut "option A" of He et al. 2015, for a change of shape; it has no parameters.

    Takes every s-th row and column, and appends channels of zeros:
    (B, C_in, H, W) -> (B, C_out, ceil(H/s), ceil(W/s)).
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.new_channels = out_channels - in_channels

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C_in, H, W) to (B, C_out, ceil(H/s), ceil(W/s))."""
        subsampled = x[:, :, :: self.stride, :: self.stride]
        return F.pad(subsampled, (0, 0, 0, 0, 0, self.new_channels))

    def extra_repr(self) -> str:
        """Return the attributes that `print(net)` shows."""
        return f"stride={self.stride}, new_channels={self.new_channels}"


class BasicBlock(nn.Module):
    """conv1, norm1, activation1, conv2, norm2, (branch, + shortcut,) activation2.

    With `skip=False`, `shortcut` is None; nothing else changes. `branch` scales what is added to
    the shortcut. The inputs of `activation1` and `activation2` are pre-activations z: after the
    norm, and after the addition. Images are padded with zeros, or periodically with
    `padding="circular"`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        stride: int,
        skip: bool,
        activation: ActivationFactory,
        norm: NormFactory,
        padding: Padding = "zeros",
        branch: nn.Module | None = None,
    ) -> None:
        super().__init__()
        norm1, norm2 = norm(out_channels), norm(out_channels)
        self.conv1 = conv3x3(in_channels, out_channels, stride=stride, norm=norm1, padding=padding)
        self.norm1 = norm1
        self.activation1 = new_activation(activation)
        self.conv2 = conv3x3(out_channels, out_channels, stride=1, norm=norm2, padding=padding)
        self.norm2 = norm2
        self.branch = branch or nn.Identity()
        self.shortcut: nn.Module | None = None
        if skip:
            same_shape = stride == 1 and in_channels == out_channels
            self.shortcut = (
                nn.Identity() if same_shape else SubsampleAndPad(in_channels, out_channels, stride)
            )
        self.activation2 = new_activation(activation)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C_in, H, W) to (B, C_out, ceil(H/s), ceil(W/s))."""
        hidden = self.activation1(self.norm1(self.conv1(x)))
        z: Tensor = self.norm2(self.conv2(hidden))
        if self.shortcut is not None:
            z = self.branch(z) + self.shortcut(x)
        out: Tensor = self.activation2(z)
        return out
