"""A plain and a residual net of 6n+2 layers, with a module for each of their nonlinearities."""

from collections import OrderedDict
from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn


class Block(nn.Module):
    """Two convolutions with a skip connection around them."""

    def __init__(
        self,
        ins: int,
        outs: int,
        stride: int,
        skip: bool,
        activation: Callable[[], nn.Module],
        norm: Callable[[int], nn.Module],
    ) -> None:
        super().__init__()
        bias = norm is nn.Identity
        self.conv1 = nn.Conv2d(ins, outs, 3, stride, padding=1, bias=bias)
        self.norm1 = norm(outs)
        self.activation1 = activation()
        self.conv2 = nn.Conv2d(outs, outs, 3, padding=1, bias=bias)
        self.norm2 = norm(outs)
        self.activation2 = activation()
        self.shortcut = Shortcut(outs - ins, stride) if skip else None

    def forward(self, x: Tensor) -> Tensor:
        z: Tensor = self.norm2(self.conv2(self.activation1(self.norm1(self.conv1(x)))))
        out: Tensor = self.activation2(z if self.shortcut is None else z + self.shortcut(x))
        return out


class Shortcut(nn.Module):
    """Take every s-th row and column, and append channels of zeros."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.channels, self.stride = channels, stride

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.channels))


class ConvNet(nn.Module):
    """A net of `stem`, three `stages` of `Block`s and `head`."""

    def __init__(
        self,
        *,
        depth: int = 8,
        width: int = 4,
        stem_stride: int = 1,
        skip: bool = True,
        activation: Callable[[], nn.Module],
        norm: Callable[[int], nn.Module],
        num_classes: int = 10,
    ) -> None:
        super().__init__()
        conv = nn.Conv2d(3, width, 3, stem_stride, padding=1, bias=norm is nn.Identity)
        parts = OrderedDict(conv=conv, norm=norm(width), activation=activation())
        self.stem = nn.Sequential(parts)
        stages, ins = [], width
        for outs, first in ((width, 1), (2 * width, 2), (4 * width, 2)):
            blocks = []
            for stride in [first] + [1] * (depth // 6 - 1):
                blocks.append(Block(ins, outs, stride, skip, activation, norm))
                ins = outs
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.Sequential(*stages)
        self.head = nn.Linear(ins, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.stages(self.stem(images)).mean(dim=(2, 3)))
        return logits
