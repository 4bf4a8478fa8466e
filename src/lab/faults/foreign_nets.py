"""The nets of the foreign suite: small versions of architectures that strangers would bring.

Image nets take images (B, 3, 16, 16) and return logits (B, 10). The nets know nothing of losses,
data or faults. Activations are modules where a fault may replace them, and functions elsewhere.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Act = Callable[[], nn.Module]


def mlp(*widths: int, act: Act = nn.ReLU) -> nn.Sequential:
    """Return dense layers of these widths with `act` between them."""
    layers: list[nn.Module] = []
    for fan_in, fan_out in itertools.pairwise(widths):
        layers += [nn.Linear(fan_in, fan_out), act()]
    return nn.Sequential(*layers[:-1])


def kaiming(net: nn.Module) -> nn.Module:
    """Draw all weights from Kaiming's normal distribution and return the net."""
    for p in net.parameters():
        if p.ndim > 1:
            nn.init.kaiming_normal_(p, nonlinearity="relu")
    return net


class Flat(nn.Module):
    """Flatten the input, then apply a net."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Any:  # noqa: D102
        return self.body(x.flatten(1))


class Residual(nn.Module):
    """x + f(x), with a learned factor on f if `scale` gives its start (ReZero: 0)."""

    def __init__(self, body: nn.Module, scale: float | None = None) -> None:
        super().__init__()
        self.body = body
        self.scale = None if scale is None else nn.Parameter(torch.tensor(scale))

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        f: Tensor = self.body(x)
        return x + (f if self.scale is None else self.scale * f)


class Pool(nn.Module):
    """Average over all positions: (B, C, H, W) to (B, C)."""

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return x.mean((2, 3))


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
        return x * gate


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
        return x + h.permute(0, 3, 1, 2)


def convnext() -> nn.Module:
    """ConvNeXt with four blocks of one width."""
    blocks = [ConvNextBlock(32) for _ in range(4)]
    return nn.Sequential(nn.Conv2d(3, 32, 4, 4), *blocks, Pool(), nn.LayerNorm(32), mlp(32, 10))


class Highway(nn.Module):
    """Highway layer: t h + (1 - t) x; the gate's bias starts at -2."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.h, self.t = nn.Linear(width, width), nn.Linear(width, width)
        nn.init.constant_(self.t.bias, -2.0)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        t = torch.sigmoid(self.t(x))
        return t * torch.relu(self.h(x)) + (1 - t) * x


def highway(inputs: int, classes: int) -> nn.Module:
    """Highway net with ten layers."""
    layers = [Highway(48) for _ in range(10)]
    return nn.Sequential(nn.Linear(inputs, 48), *layers, nn.Linear(48, classes))


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


class Sine(nn.Module):
    """SIREN's layer: sin(30 (w x + b)), with its own initialization."""

    def __init__(self, fan_in: int, fan_out: int, first: bool = False) -> None:
        super().__init__()
        self.linear, self.omega = nn.Linear(fan_in, fan_out), 30.0
        bound = 1 / fan_in if first else math.sqrt(6 / fan_in) / self.omega
        nn.init.uniform_(self.linear.weight, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return torch.sin(self.omega * self.linear(x))


def siren() -> nn.Module:
    """SIREN: coordinates (B, 2) to a value (B, 1)."""
    return nn.Sequential(Sine(2, 64, True), Sine(64, 64), Sine(64, 64), nn.Linear(64, 1))


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


class SwiGLU(nn.Module):
    """x + W3 (silu(W1 x) * W2 x), after an RMS norm."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(width)
        self.gate, self.value = nn.Linear(width, 2 * width), nn.Linear(width, 2 * width)
        self.out = nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        h = self.norm(x)
        y: Tensor = x + self.out(F.silu(self.gate(h)) * self.value(h))
        return y


class GLUs(nn.Module):
    """A plain net with gated linear units: three layers of F.glu."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(inputs, 128), *[nn.Linear(64, 128)] * 1])
        self.layers.append(nn.Linear(64, 128))
        self.head = nn.Linear(64, outputs)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        for layer in self.layers:
            x = F.glu(layer(x))
        y: Tensor = self.head(x)
        return y


class Elman(nn.Module):
    """A recurrent net written as a loop: 12 steps of h = tanh(W x + U h)."""

    def __init__(self, inputs: int, width: int, outputs: int) -> None:
        super().__init__()
        self.cell = nn.RNNCell(inputs, width)
        self.head = nn.Linear(width, outputs)
        nn.init.orthogonal_(self.cell.weight_hh)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        h = x.new_zeros(len(x), self.cell.hidden_size)
        for t in range(x.shape[1]):
            h = self.cell(x[:, t], h)
        y: Tensor = self.head(h)
        return y


class LoopedTanh(nn.Module):
    """The same recurrence with nn.Linear and torch.tanh, so that every step is a layer."""

    def __init__(self, inputs: int, width: int, outputs: int) -> None:
        super().__init__()
        self.enter, self.again = nn.Linear(inputs, width), nn.Linear(width, width)
        self.head = nn.Linear(width, outputs)
        nn.init.orthogonal_(self.again.weight)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        h = torch.zeros_like(self.enter(x[:, 0]))
        for t in range(x.shape[1]):
            h = torch.tanh(self.enter(x[:, t]) + self.again(h))
        y: Tensor = self.head(h)
        return y


class RecurrentModel(nn.Module):
    """Embedding, a recurrent layer, and a head for every position: tokens (B, T) to (B, T, V)."""

    def __init__(self, kind: type[nn.GRU] | type[nn.LSTM], tokens: int, width: int) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(tokens, width), nn.Linear(width, tokens)
        self.recurrent = kind(width, width, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        y: Tensor = self.head(self.recurrent(self.embed(x))[0])
        return y


class LanguageModel(nn.Module):
    """A causal Transformer of nn.TransformerEncoderLayer, with tied embeddings if asked."""

    def __init__(self, tokens: int, length: int, width: int, tied: bool) -> None:
        super().__init__()
        self.embed, self.positions = nn.Embedding(tokens, width), nn.Embedding(length, width)
        layer = nn.TransformerEncoderLayer(
            width, 4, 4 * width, 0.0, F.gelu, batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, tokens, bias=False)
        nn.init.normal_(self.embed.weight, std=0.02)
        if tied:
            self.head.weight = self.embed.weight

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1])
        h = self.embed(x) + self.positions.weight[: x.shape[1]]
        y: Tensor = self.head(self.norm(self.encoder(h, mask=mask, is_causal=True)))
        return y


class ConvCTC(nn.Module):
    """One-dimensional convolutions and a bidirectional LSTM: (B, C, T) to (T, B, V)."""

    def __init__(self, channels: int, tokens: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv1d(channels, 32, 3, padding=1), nn.ReLU())
        self.recurrent = nn.LSTM(32, 24, bidirectional=True, batch_first=True)
        self.head = nn.Linear(48, tokens)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        h = self.recurrent(self.body(x).transpose(1, 2))[0]
        return F.log_softmax(self.head(h), -1).transpose(0, 1)


class GraphNet(nn.Module):
    """Graph convolutions by a dense, normalized adjacency matrix (N, N)."""

    def __init__(self, adjacency: Tensor, inputs: int, outputs: int) -> None:
        super().__init__()
        self.register_buffer("adjacency", adjacency)
        self.layers = nn.ModuleList([nn.Linear(inputs, 32), nn.Linear(32, 32)])
        self.head = nn.Linear(32, outputs)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        for layer in self.layers:
            x = F.relu(self.adjacency @ layer(x))
        y: Tensor = self.head(x)
        return y


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


class VAE(nn.Module):
    """Dense variational autoencoder; returns reconstruction, mean and log-variance."""

    def __init__(self, inputs: int, latent: int, act: Act = nn.ReLU) -> None:
        super().__init__()
        self.encoder = mlp(inputs, 128, 2 * latent, act=act)
        self.decoder = mlp(latent, 128, inputs, act=act)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # noqa: D102
        mean, log_variance = self.encoder(x).chunk(2, -1)
        noise = torch.randn_like(mean) if self.training else torch.zeros_like(mean)
        return self.decoder(mean + noise * (log_variance / 2).exp()), mean, log_variance


class SparseAutoencoder(nn.Module):
    """Autoencoder with a wide hidden layer; returns reconstruction and code.

    `k` keeps the k largest entries of the code alone; 0 keeps all.
    """

    def __init__(self, inputs: int, width: int, k: int = 0) -> None:
        super().__init__()
        self.encoder, self.act, self.decoder = (
            nn.Linear(inputs, width),
            nn.ReLU(),
            nn.Linear(width, inputs),
        )
        self.k = k

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        code = self.act(self.encoder(x))
        if self.k:
            kept = code.topk(self.k, -1)
            code = torch.zeros_like(code).scatter(-1, kept.indices, kept.values)
        return self.decoder(code), code


class SquaredReLU(nn.Module):
    """relu(x)^2, as in Primer."""

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return torch.relu(x) ** 2


class Exp(nn.Module):
    """exp(x): positive features."""

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return torch.exp(x)


class ActivationSnake(nn.Module):
    """x + sin(x)^2, an activation whose name the monitor knows as one."""

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return x + torch.sin(x) ** 2


class BayesLinear(nn.Module):
    """Weights drawn anew in each pass, with standard deviation softplus(rho)."""

    def __init__(self, fan_in: int, fan_out: int) -> None:
        super().__init__()
        self.mu = nn.Parameter(torch.randn(fan_out, fan_in) / math.sqrt(fan_in))
        self.rho = nn.Parameter(torch.full((fan_out, fan_in), -4.0))
        self.bias = nn.Parameter(torch.zeros(fan_out))

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        sigma = F.softplus(self.rho)
        noise = torch.randn_like(sigma) if self.training else torch.zeros_like(sigma)
        return F.linear(x, self.mu + sigma * noise, self.bias)

    def divergence(self) -> Tensor:
        """Return KL(q, standard normal prior), a scalar."""
        sigma = F.softplus(self.rho)
        return (-sigma.log() + (sigma**2 + self.mu**2 - 1) / 2).sum()


def bayes(inputs: int, outputs: int) -> nn.Sequential:
    """Three layers for Bayes by backprop."""
    first, second, third = BayesLinear(inputs, 48), BayesLinear(48, 48), BayesLinear(48, outputs)
    return nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), third)


def linear_net(*widths: int) -> nn.Sequential:
    """Return dense layers without any activation."""
    return mlp(*widths, act=nn.Identity)


def zero_linear(inputs: int, outputs: int) -> nn.Module:
    """Return one layer that starts from zero: logistic or softmax regression."""
    layer = nn.Linear(inputs, outputs)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return Flat(layer)


def linear_probe() -> nn.Module:
    """A frozen random backbone in evaluation mode, and a trainable linear head."""
    backbone = nn.Sequential(conv_bn(3, 64, 2), conv_bn(64, 64, 2), nn.Flatten())
    backbone.requires_grad_(False)
    return nn.Sequential(backbone, nn.Linear(64 * 16, 10))


class LowRank(nn.Module):
    """A frozen layer plus a trainable low-rank update that starts from zero (LoRA)."""

    def __init__(self, fan_in: int, fan_out: int, rank: int = 2) -> None:
        super().__init__()
        self.frozen = nn.Linear(fan_in, fan_out)
        self.frozen.requires_grad_(False)
        self.down = nn.Linear(fan_in, rank, bias=False)
        self.up = nn.Linear(rank, fan_out, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        y: Tensor = self.frozen(x) + self.up(self.down(x))
        return y


def low_rank(inputs: int, outputs: int) -> nn.Module:
    """Three frozen layers that only low-rank updates change."""
    layers = (LowRank(inputs, 96), nn.ReLU(), LowRank(96, 96), nn.ReLU(), LowRank(96, outputs))
    return nn.Sequential(*layers)


def biases_only(inputs: int, outputs: int) -> nn.Module:
    """A wide net of which only the biases and the head are trained (BitFit)."""
    net = mlp(inputs, 256, 256, outputs)
    for layer in list(net)[:-1]:
        if isinstance(layer, nn.Linear):
            layer.weight.requires_grad_(False)
    return net


class Distilled(nn.Module):
    """A student and its teacher, which is frozen but may be in the graph."""

    def __init__(self, student: nn.Module, teacher: nn.Module, no_grad: bool) -> None:
        super().__init__()
        self.student, self.teacher, self.no_grad = student, teacher, no_grad
        teacher.requires_grad_(False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.no_grad):
            target = self.teacher(x)
        return self.student(x), target


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


class MatrixFactors(nn.Module):
    """A recommender: the product of two embeddings, plus biases."""

    def __init__(self, users: int, items: int, rank: int) -> None:
        super().__init__()
        self.users, self.items = nn.Embedding(users, rank), nn.Embedding(items, rank)
        self.bias = nn.Embedding(items, 1)
        for embedding in (self.users, self.items):
            nn.init.normal_(embedding.weight, std=0.3)
        nn.init.zeros_(self.bias.weight)

    def forward(self, pairs: Tensor) -> Tensor:  # noqa: D102
        users, items = self.users(pairs[:, 0]), self.items(pairs[:, 1])
        y: Tensor = (users * items).sum(1) + self.bias(pairs[:, 1])[:, 0]
        return y


class Coupling(nn.Module):
    """RealNVP's affine coupling of two dimensions; returns the image and log |det J|."""

    def __init__(self, first: bool) -> None:
        super().__init__()
        self.first, self.net = first, mlp(1, 48, 48, 2, act=nn.Tanh)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        kept, moved = (x[:, :1], x[:, 1:]) if self.first else (x[:, 1:], x[:, :1])
        log_scale, shift = self.net(kept).chunk(2, 1)
        log_scale = torch.tanh(log_scale)
        moved = moved * log_scale.exp() + shift
        pair = (kept, moved) if self.first else (moved, kept)
        return torch.cat(pair, 1), log_scale[:, 0]


class Flow2D(nn.Module):
    """Six couplings: points (B, 2) to their negative log-likelihood (B)."""

    def __init__(self) -> None:
        super().__init__()
        self.couplings = nn.ModuleList([Coupling(i % 2 == 0) for i in range(6)])

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        total = x.new_zeros(len(x))
        for coupling in self.couplings:
            x, log_det = coupling(x)
            total = total + log_det
        return (x**2).sum(1) / 2 + math.log(2 * math.pi) - total


class Experts(nn.Module):
    """A softmax gate over four expert nets."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.gate = nn.Linear(inputs, 4)
        self.experts = nn.ModuleList([mlp(inputs, 32, 32, outputs) for _ in range(4)])

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        each = torch.stack([expert(x) for expert in self.experts], 1)
        return (self.gate(x).softmax(-1)[:, :, None] * each).sum(1)


class DeepSet(nn.Module):
    """A net for each element of a set, their mean, and a net for the set: (B, N, C) to (B, K)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.phi = mlp(inputs, 48, 48, act=nn.Mish)
        self.rho = mlp(48, 48, outputs, act=nn.Mish)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        y: Tensor = self.rho(self.phi(x).mean(1))
        return y


def temporal(channels: int, outputs: int) -> nn.Module:
    """Dilated residual convolutions over time: (B, C, T) to (B, K)."""

    def block(dilation: int) -> nn.Module:
        layer = nn.Conv1d(32, 32, 3, padding=dilation, dilation=dilation)
        return Residual(nn.Sequential(layer, nn.GroupNorm(4, 32), nn.ReLU()))

    blocks = (block(1), block(2), block(4))
    end = (nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(32, outputs))
    return nn.Sequential(nn.Conv1d(channels, 32, 3, padding=1), *blocks, *end)


class TwoHeads(nn.Module):
    """A shared trunk with a head for classes and one for a value."""

    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__()
        self.trunk = nn.Sequential(mlp(inputs, 64, 64, act=nn.PReLU), nn.PReLU())
        self.classes, self.value = nn.Linear(64, classes), nn.Linear(64, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        h = self.trunk(x)
        return self.classes(h), self.value(h)[:, 0]


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


def plain(widths: Sequence[int], act: Act, init: Callable[[Tensor], Any]) -> nn.Module:
    """Return a dense net whose weights `init` draws and whose biases are 0."""
    net = mlp(*widths, act=act)
    for p in net.parameters():
        if p.ndim > 1:
            init(p)
        else:
            nn.init.zeros_(p)
    return net
