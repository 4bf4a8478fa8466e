"""Nets of the foreign suite for images (B, 3, 16, 16): small versions of known architectures.

Most return logits (B, 10).
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lab.faults.foreign.nets import Act, Flat, Pool, Residual, kaiming, mlp


def conv(fan_in: int, fan_out: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """Return a 3x3 convolution without bias, as before a norm."""
    return nn.Conv2d(fan_in, fan_out, 3, stride, 1, groups=groups, bias=False)


def conv_bn(fan_in: int, fan_out: int, stride: int = 1, act: Act = nn.ReLU) -> nn.Sequential:
    """Return convolution, batch norm, activation."""
    return nn.Sequential(conv(fan_in, fan_out, stride), nn.BatchNorm2d(fan_out), act())


def vgg() -> nn.Module:
    """VGG with batch norm: six convolutions, max pooling, two dense layers."""
    widths = ((3, 16), (16, 16), (16, 32), (32, 32), (32, 48), (48, 48))
    layers: list[nn.Module] = []
    for i, (fan_in, fan_out) in enumerate(widths):
        layers += [conv_bn(fan_in, fan_out)]
        layers += [nn.MaxPool2d(2)] if i % 2 else []
    return nn.Sequential(*layers, nn.Flatten(), mlp(48 * 4, 64, 10))


def vgg_without_norm() -> nn.Module:
    """VGG as in 2014, without any norm: seven convolutions and three dense layers."""
    layers: list[nn.Module] = []
    widths = (3, 16, 16, 24, 24, 32, 32, 32)
    for i, (fan_in, fan_out) in enumerate(itertools.pairwise(widths)):
        layers += [nn.Conv2d(fan_in, fan_out, 3, padding=1), nn.ReLU(inplace=True)]
        layers += [nn.MaxPool2d(2)] if i in (0, 2, 4) else []
    return kaiming(nn.Sequential(*layers, nn.Flatten(), mlp(32 * 4, 64, 64, 10)))


class BasicBlock(nn.Module):
    """ResNet's basic block; the last norm of the branch starts from 0."""

    def __init__(self, fan_in: int, fan_out: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv(fan_in, fan_out, stride), nn.BatchNorm2d(fan_out)
        self.conv2, self.bn2 = conv(fan_out, fan_out), nn.BatchNorm2d(fan_out)
        self.relu = nn.ReLU(inplace=True)
        same = fan_in == fan_out and stride == 1
        self.downsample = nn.Identity() if same else nn.Conv2d(fan_in, fan_out, 1, stride)
        nn.init.zeros_(self.bn2.weight)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        z: Tensor = self.relu(y + self.downsample(x))
        return z


def resnet() -> nn.Module:
    """ResNet with zero_init_residual, as in torchvision."""
    blocks = [BasicBlock(16, 16, 1), BasicBlock(16, 32, 2), BasicBlock(32, 48, 2)]
    return nn.Sequential(conv_bn(3, 16), *blocks, Pool(), nn.Linear(48, 10))


class SqueezeExcite(nn.Module):
    """Gate the channels by a small net of their means."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Conv2d(width, width // 4, 1), nn.Conv2d(width // 4, width, 1)
        self.activation, self.scale_activation = nn.ReLU(), nn.Hardsigmoid()

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        gate = self.scale_activation(self.fc2(self.activation(self.fc1(x.mean((2, 3), True)))))
        y: Tensor = x * gate
        return y


def mobilenet() -> nn.Module:
    """MobileNetV3: inverted residuals, depthwise convolutions, squeeze-excite, hardswish."""

    def block(width: int) -> nn.Module:
        wide = 3 * width
        return Residual(
            nn.Sequential(
                nn.Conv2d(width, wide, 1, bias=False),
                nn.BatchNorm2d(wide),
                nn.Hardswish(),
                conv(wide, wide, groups=wide),
                nn.BatchNorm2d(wide),
                nn.Hardswish(),
                SqueezeExcite(wide),
                nn.Conv2d(wide, width, 1, bias=False),
                nn.BatchNorm2d(width),
            )
        )

    stem = conv_bn(3, 16, 2, nn.Hardswish)
    head = (Pool(), nn.Linear(32, 64), nn.Hardswish(), nn.Dropout(0.1), nn.Linear(64, 10))
    down = conv_bn(16, 32, 2, nn.Hardswish)
    return nn.Sequential(stem, block(16), down, block(32), block(32), *head)


class Dense(nn.Module):
    """DenseNet's layer: append new channels to the input."""

    def __init__(self, fan_in: int, growth: int) -> None:
        super().__init__()
        self.norm, self.relu, self.conv = nn.BatchNorm2d(fan_in), nn.ReLU(), conv(fan_in, growth)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return torch.cat([x, self.conv(self.relu(self.norm(x)))], 1)


def densenet() -> nn.Module:
    """DenseNet: two blocks of three layers."""
    first = [Dense(16 + 8 * i, 8) for i in range(3)]
    second = [Dense(24 + 8 * i, 8) for i in range(3)]
    middle = (nn.Conv2d(40, 24, 1), nn.AvgPool2d(2))
    end = (nn.BatchNorm2d(48), nn.ReLU(), Pool(), nn.Linear(48, 10))
    return nn.Sequential(conv(3, 16, 2), *first, *middle, *second, *end)


class Patches(nn.Module):
    """Cut an image into 4x4 patches and embed them: (B, 3, 16, 16) to (B, 16, width)."""

    def __init__(self, width: int, positions: bool = False) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, width, 4, 4)
        self.positions = nn.Parameter(torch.randn(16, width) * 0.02) if positions else None

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        tokens: Tensor = self.embed(x).flatten(2).transpose(1, 2)
        return tokens if self.positions is None else tokens + self.positions


class MixerBlock(nn.Module):
    """MLP-Mixer's block: a net over the tokens, then one over the channels."""

    def __init__(self, tokens: int, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.over_tokens = mlp(tokens, 2 * tokens, tokens, act=nn.GELU)
        self.over_channels = mlp(width, 2 * width, width, act=nn.GELU)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        x = x + self.over_tokens(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        y: Tensor = x + self.over_channels(self.norm2(x))
        return y


class TokenMean(nn.Module):
    """Average over tokens: (B, T, C) to (B, C)."""

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return x.mean(1)


def mixer() -> nn.Module:
    """MLP-Mixer with four blocks."""
    blocks = [MixerBlock(16, 48) for _ in range(4)]
    return nn.Sequential(Patches(48), *blocks, nn.LayerNorm(48), TokenMean(), nn.Linear(48, 10))


class EncoderBlock(nn.Module):
    """A pre-norm Transformer block with its own GELU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, 4, batch_first=True)
        self.mlp = mlp(width, 4 * width, width, act=nn.GELU)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        h = self.norm1(x)
        x = x + self.attention(h, h, h, need_weights=False)[0]
        y: Tensor = x + self.mlp(self.norm2(x))
        return y


def vit() -> nn.Module:
    """ViT: 16 patches, four blocks, mean over tokens."""
    blocks = [EncoderBlock(48) for _ in range(4)]
    norm = nn.LayerNorm(48)
    return nn.Sequential(Patches(48, True), *blocks, norm, TokenMean(), nn.Linear(48, 10))


class ConvNextBlock(nn.Module):
    """ConvNeXt's block, with LayerScale from 1e-6."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width)
        self.pwconv1, self.act = nn.Linear(width, 4 * width), nn.GELU()
        self.pwconv2 = nn.Linear(4 * width, width)
        self.gamma = nn.Parameter(1e-6 * torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        h = self.norm(self.dwconv(x).permute(0, 2, 3, 1))
        h = self.gamma * self.pwconv2(self.act(self.pwconv1(h)))
        y: Tensor = x + h.permute(0, 3, 1, 2)
        return y


def convnext() -> nn.Module:
    """ConvNeXt with four blocks of one width."""
    blocks = [ConvNextBlock(32) for _ in range(4)]
    return nn.Sequential(nn.Conv2d(3, 32, 4, 4), *blocks, Pool(), nn.LayerNorm(32), mlp(32, 10))


class UNet(nn.Module):
    """U-Net of two scales that predicts an image from a noisy image and its noise level."""

    def __init__(self) -> None:
        super().__init__()
        self.time = mlp(1, 32, 32, act=nn.SiLU)
        self.down1, self.down2 = nn.Conv2d(3, 32, 3, padding=1), nn.Conv2d(32, 48, 3, 2, 1)
        self.middle = nn.Sequential(nn.GroupNorm(8, 48), nn.SiLU(), nn.Conv2d(48, 48, 3, 1, 1))
        self.up = nn.ConvTranspose2d(48, 32, 2, 2)
        self.end = nn.Sequential(nn.GroupNorm(8, 64), nn.SiLU(), nn.Conv2d(64, 3, 3, 1, 1))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:  # noqa: D102
        first = F.silu(self.down1(x) + self.time(t[:, None])[:, :, None, None])
        second = F.silu(self.down2(first))
        second = second + self.middle(second)
        y: Tensor = self.end(torch.cat([first, F.silu(self.up(second))], 1))
        return y


class Inception(nn.Module):
    """Three parallel branches, concatenated."""

    def __init__(self, fan_in: int, width: int) -> None:
        super().__init__()
        self.one = nn.Sequential(nn.Conv2d(fan_in, width, 1), nn.ReLU())
        self.three = nn.Sequential(nn.Conv2d(fan_in, width, 3, padding=1), nn.ReLU())
        self.pooled = nn.Sequential(nn.MaxPool2d(3, 1, 1), nn.Conv2d(fan_in, width, 1), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return torch.cat([self.one(x), self.three(x), self.pooled(x)], 1)


class Inceptions(nn.Module):
    """Inception blocks with an auxiliary head after the second one; returns both logits."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 24, 3, 2, 1), nn.ReLU())
        self.early = nn.Sequential(Inception(24, 16), Inception(48, 16))
        self.late = nn.Sequential(nn.MaxPool2d(2), Inception(48, 20), Inception(60, 20))
        self.auxiliary, self.head = nn.Linear(48, 10), nn.Linear(60, 10)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        early = self.early(self.stem(x))
        return self.head(self.late(early).mean((2, 3))), self.auxiliary(early.mean((2, 3)))


class Functional(nn.Module):
    """A plain convolutional net that calls F.relu and F.max_pool2d."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 24, 3, padding=1), nn.Conv2d(24, 32, 3, padding=1)
        self.conv3 = nn.Conv2d(32, 48, 3, padding=1)
        self.fc1, self.fc2 = nn.Linear(48 * 4, 64), nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        for layer in (self.conv1, self.conv2, self.conv3):
            x = F.max_pool2d(F.relu(layer(x)), 2)
        y: Tensor = self.fc2(F.relu(self.fc1(x.flatten(1))))
        return y


def rezero() -> nn.Module:
    """ReZero: eight dense residual layers whose branches start from 0."""
    layer = [Residual(nn.Sequential(nn.Linear(64, 64), nn.ReLU()), 0.0) for _ in range(8)]
    return Flat(nn.Sequential(nn.Linear(768, 64), *layer, nn.Linear(64, 10)))


def skip_init() -> nn.Module:
    """SkipInit: convolutional residual branches without norms, times a factor from 0."""

    def branch() -> nn.Module:
        first, second = nn.Conv2d(24, 24, 3, padding=1), nn.Conv2d(24, 24, 3, padding=1)
        return Residual(nn.Sequential(nn.ELU(), first, nn.ELU(), second), 0.0)

    stem = nn.Conv2d(3, 24, 3, 2, 1)
    return nn.Sequential(stem, *(branch() for _ in range(5)), nn.ELU(), Pool(), nn.Linear(24, 10))


def post_norm() -> nn.Module:
    """Convolution, activation, then batch norm, six times."""
    layers: list[nn.Module] = []
    widths = (3, 16, 16, 24, 24, 32, 32)
    for i, (fan_in, fan_out) in enumerate(itertools.pairwise(widths)):
        layers += [nn.Conv2d(fan_in, fan_out, 3, 1 + i % 2, 1), nn.LeakyReLU(0.1)]
        layers += [nn.BatchNorm2d(fan_out)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(32 * 4, 10))


class Shared(nn.Module):
    """One block called five times, as in a deep equilibrium model that is unrolled."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 3, 2, 1)
        self.norm, self.act, self.conv = nn.GroupNorm(4, 32), nn.ReLU(), conv(32, 32)
        self.head = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        x = self.stem(x)
        for _ in range(5):
            x = x + self.conv(self.act(self.norm(x)))
        y: Tensor = self.head(x.mean((2, 3)))
        return y


def pooled_then_dense() -> nn.Module:
    """Convolutions, global average pooling, then three hidden dense layers."""
    body = (conv_bn(3, 24, 2), conv_bn(24, 48), conv_bn(48, 48))
    return nn.Sequential(*body, Pool(), mlp(48, 64, 64, 64, 10))


def conv_autoencoder() -> nn.Module:
    """Strided convolutions down to 4x4, transposed ones back."""
    return nn.Sequential(
        nn.Conv2d(3, 24, 3, 2, 1),
        nn.ReLU(),
        nn.Conv2d(24, 32, 3, 2, 1),
        nn.ReLU(),
        nn.Conv2d(32, 16, 3, 1, 1),
        nn.ReLU(),
        nn.ConvTranspose2d(16, 24, 2, 2),
        nn.ReLU(),
        nn.ConvTranspose2d(24, 3, 2, 2),
    )


def linear_probe() -> nn.Module:
    """A frozen random backbone, its batch norms in training mode, and a trainable head."""
    backbone = nn.Sequential(conv_bn(3, 64, 2), conv_bn(64, 64, 2), nn.Flatten())
    backbone.requires_grad_(False)
    return nn.Sequential(backbone, nn.Linear(64 * 16, 10))


class Projected(nn.Module):
    """A small convolutional encoder with a projection head: images to embeddings."""

    def __init__(self, act: Act, outputs: int, norm: bool = True) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(3, 24, 3, 2, 1),
            nn.BatchNorm2d(24) if norm else nn.Identity(),
            act(),
            nn.Conv2d(24, 48, 3, 2, 1),
            nn.BatchNorm2d(48) if norm else nn.Identity(),
            act(),
            nn.Flatten(),
        )
        self.projection = mlp(48 * 16, 64, outputs, act=act)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        y: Tensor = self.projection(self.encoder(x))
        return y


class Generative(nn.Module):
    """DCGAN's two nets for one-channel images of 8x8."""

    def __init__(self, latent: int = 16) -> None:
        super().__init__()
        self.latent = latent
        self.generator = nn.Sequential(
            nn.ConvTranspose2d(latent, 32, 4),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.ConvTranspose2d(32, 1, 4, 2, 1),
            nn.Tanh(),
        )
        self.critic = nn.Sequential(
            nn.Conv2d(1, 24, 4, 2, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(24, 32, 4),
            nn.LeakyReLU(0.2),
            nn.Flatten(),
            nn.Linear(32, 1),
        )

    def forward(self, n: int) -> Tensor:
        """Return `n` made images (n, 1, 8, 8)."""
        y: Tensor = self.generator(torch.randn(n, self.latent, 1, 1))
        return y
