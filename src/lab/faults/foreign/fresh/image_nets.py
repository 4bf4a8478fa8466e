"""Nets of the fresh part for images: small versions of known architectures."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lab.faults.foreign.image_nets import SqueezeExcite
from lab.faults.foreign.nets import Act, Pool, Residual


class DropPath(nn.Module):
    """x + f(x), where f is left out for a random share of the images in training."""

    def __init__(self, body: nn.Module, share: float) -> None:
        super().__init__()
        self.body, self.share = body, share

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        f: Tensor = self.body(x)
        if self.training:
            kept = torch.rand(len(x), 1, 1, 1) >= self.share
            f = f * kept / (1 - self.share)
        return x + f


def _norm_act(width: int, act: Act) -> tuple[nn.Module, nn.Module]:
    return nn.BatchNorm2d(width), act()


def efficientnet() -> nn.Module:
    """EfficientNet: inverted residuals with SiLU, squeeze-excite and drop path."""

    def block(width: int) -> nn.Module:
        wide = 4 * width
        layers = (
            *(nn.Conv2d(width, wide, 1, bias=False), *_norm_act(wide, nn.SiLU)),
            nn.Conv2d(wide, wide, 5, padding=2, groups=wide, bias=False),
            *_norm_act(wide, nn.SiLU),
            SqueezeExcite(wide),
            *(nn.Conv2d(wide, width, 1, bias=False), nn.BatchNorm2d(width)),
        )
        return DropPath(nn.Sequential(*layers), 0.1)

    stem = (nn.Conv2d(3, 16, 3, 2, 1, bias=False), *_norm_act(16, nn.SiLU))
    down = (nn.Conv2d(16, 32, 3, 2, 1, bias=False), *_norm_act(32, nn.SiLU))
    return nn.Sequential(*stem, block(16), *down, block(32), block(32), Pool(), nn.Linear(32, 10))


def regnet() -> nn.Module:
    """RegNetX: residual bottlenecks with grouped convolutions."""

    def block(width: int) -> nn.Module:
        layers = (
            *(nn.Conv2d(width, width, 1, bias=False), *_norm_act(width, nn.ReLU)),
            nn.Conv2d(width, width, 3, padding=1, groups=width // 8, bias=False),
            *_norm_act(width, nn.ReLU),
            *(nn.Conv2d(width, width, 1, bias=False), nn.BatchNorm2d(width)),
        )
        return nn.Sequential(Residual(nn.Sequential(*layers)), nn.ReLU())

    def down(fan_in: int, fan_out: int) -> nn.Module:
        layer = nn.Conv2d(fan_in, fan_out, 3, 2, 1, bias=False)
        return nn.Sequential(layer, *_norm_act(fan_out, nn.ReLU))

    body = (down(3, 24), block(24), block(24), down(24, 48), block(48), block(48))
    return nn.Sequential(*body, Pool(), nn.Linear(48, 10))


def se_resnext() -> nn.Module:
    """SE-ResNeXt: pre-activation bottlenecks of 4 paths, gated by squeeze-excite."""

    def block(width: int) -> nn.Module:
        layers = (
            *(*_norm_act(width, nn.ELU), nn.Conv2d(width, 16, 1)),
            *(*_norm_act(16, nn.ELU), nn.Conv2d(16, 16, 3, padding=1, groups=4)),
            *(*_norm_act(16, nn.ELU), nn.Conv2d(16, width, 1), SqueezeExcite(width)),
        )
        return Residual(nn.Sequential(*layers))

    stem = nn.Conv2d(3, 40, 4, 4)
    blocks = [block(40) for _ in range(4)]
    return nn.Sequential(stem, *blocks, *_norm_act(40, nn.ELU), Pool(), nn.Linear(40, 10))


class Tokens(nn.Module):
    """Cut an image into patches of 4x4: (B, 3, 16, 16) to (B, 16, 48)."""

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return F.unfold(x, 4, stride=4).transpose(1, 2)


class SpatialGate(nn.Module):
    """gMLP's block: half of the channels gate the other half by a map over the tokens."""

    def __init__(self, tokens: int, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.enter, self.act = nn.Linear(width, 2 * width), nn.GELU()
        self.over_tokens, self.leave = nn.Linear(tokens, tokens), nn.Linear(width, width)
        nn.init.normal_(self.over_tokens.weight, std=1e-3)
        nn.init.ones_(self.over_tokens.bias)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        u, v = self.act(self.enter(self.norm1(x))).chunk(2, -1)
        gate = self.over_tokens(self.norm2(v).transpose(1, 2)).transpose(1, 2)
        y: Tensor = x + self.leave(u * gate)
        return y


class CosineClassifier(nn.Module):
    """gMLP blocks whose last layer returns cosines (B, 10) between -1 and 1."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            Tokens(), nn.Linear(48, 48), *[SpatialGate(16, 48) for _ in range(4)]
        )
        self.prototypes = nn.Parameter(torch.randn(10, 48))

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return F.linear(F.normalize(self.body(x).mean(1)), F.normalize(self.prototypes))


class ExternalAttention(nn.Module):
    """Attention to a learned memory instead of the other tokens, then a dense layer."""

    def __init__(self, width: int, memories: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(width)
        self.keys = nn.Linear(width, memories, bias=False)
        self.values = nn.Linear(memories, width, bias=False)
        self.mix = nn.Sequential(nn.Linear(width, width), nn.Hardswish(), nn.Linear(width, width))

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        h = self.norm(x.transpose(1, 2)).transpose(1, 2)
        weights = self.keys(h).softmax(1)
        x = x + self.values(weights / weights.sum(-1, keepdim=True))
        y: Tensor = x + self.mix(x)
        return y


class RotationNet(nn.Module):
    """Three blocks of external attention, flattened: images to 4 logits."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(Tokens(), nn.Linear(48, 48))
        self.blocks = nn.Sequential(*[ExternalAttention(48, 24) for _ in range(3)])
        self.head = nn.Linear(48 * 16, 4)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        y: Tensor = self.head(self.blocks(self.stem(x)).flatten(1))
        return y


class LlamaBlock(nn.Module):
    """A Transformer block with RMS norms, attention without biases, and a SwiGLU layer."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2, self.heads = nn.RMSNorm(width), nn.RMSNorm(width), heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.gate, self.up = nn.Linear(width, 2 * width), nn.Linear(width, 2 * width)
        self.down = nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        q, k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in self.qkv(self.norm1(x)).chunk(3, -1)
        )
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = x + self.out(mixed)
        h = self.norm2(x)
        y: Tensor = x + self.down(F.silu(self.gate(h)) * self.up(h))
        return y


class MaskedAutoencoder(nn.Module):
    """Predict all patches (B, 16, 48) from images whose masked patches (B, 16) are hidden."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.embed = Tokens(), nn.Linear(48, 48)
        self.hidden = nn.Parameter(torch.zeros(48))
        self.positions = nn.Parameter(0.02 * torch.randn(16, 48))
        self.blocks = nn.Sequential(*[LlamaBlock(48, 4) for _ in range(3)])
        self.head = nn.Linear(48, 48)

    def forward(self, x: Tensor, masked: Tensor) -> Tensor:  # noqa: D102
        h = torch.where(masked[..., None], self.hidden, self.embed(self.tokens(x)))
        y: Tensor = self.head(self.blocks(h + self.positions))
        return y


class Segmenter(nn.Module):
    """U-Net with group norms and ReLUs: (B, 1, 16, 16) to logits of the same shape."""

    def __init__(self) -> None:
        super().__init__()
        self.down1, self.down2 = self._pair(1, 16), self._pair(16, 32)
        self.bottom = self._pair(32, 32)
        self.up2, self.up1 = self._pair(64, 16), self._pair(32, 16)
        self.head = nn.Conv2d(16, 1, 1)

    @staticmethod
    def _pair(fan_in: int, fan_out: int) -> nn.Module:
        return nn.Sequential(
            *(nn.Conv2d(fan_in, fan_out, 3, padding=1), nn.GroupNorm(4, fan_out), nn.ReLU()),
            *(nn.Conv2d(fan_out, fan_out, 3, padding=1), nn.GroupNorm(4, fan_out), nn.ReLU()),
        )

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        first = self.down1(x)
        second = self.down2(F.max_pool2d(first, 2))
        third = self.bottom(F.max_pool2d(second, 2))
        second = self.up2(torch.cat([second, F.interpolate(third, scale_factor=2.0)], 1))
        first = self.up1(torch.cat([first, F.interpolate(second, scale_factor=2.0)], 1))
        y: Tensor = self.head(first)
        return y


class MaskedConv(nn.Conv2d):
    """A 5x5 convolution that sees only pixels above, and to the left in the same row."""

    mask: Tensor

    def __init__(self, fan_in: int, fan_out: int, sees_itself: bool) -> None:
        super().__init__(fan_in, fan_out, 5, padding=2)
        mask = torch.zeros(5, 5)
        mask[:2] = 1
        mask[2, : 3 if sees_itself else 2] = 1
        self.register_buffer("mask", mask)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return F.conv2d(x, self.weight * self.mask, self.bias, padding=2)


class GatedPixels(nn.Module):
    """Gated PixelCNN: images (B, 1, 8, 8) to the logit of each pixel, given those before it."""

    def __init__(self, width: int = 24, layers: int = 4) -> None:
        super().__init__()
        self.enter = MaskedConv(1, width, False)
        self.layers = nn.ModuleList([MaskedConv(width, 2 * width, True) for _ in range(layers)])
        self.head = nn.Conv2d(width, 1, 1)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        h = self.enter(x)
        for layer in self.layers:
            a, b = layer(h).chunk(2, 1)
            h = h + torch.tanh(a) * torch.sigmoid(b)
        y: Tensor = self.head(h)
        return y


class Quantized(nn.Module):
    """VQ-VAE; returns the reconstruction, the code before and the code after quantization."""

    def __init__(self, width: int = 16, codes: int = 32) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            *(nn.Conv2d(1, 32, 4, 2, 1), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1), nn.ReLU()),
            *(nn.Conv2d(32, width, 1), nn.BatchNorm2d(width, affine=False)),  # scale of the codes
        )
        self.codebook = nn.Embedding(codes, width)
        self.decoder = nn.Sequential(
            *(nn.Conv2d(width, 32, 3, padding=1), nn.ReLU()),
            *(nn.ConvTranspose2d(32, 32, 4, 2, 1), nn.ReLU(), nn.Conv2d(32, 1, 3, padding=1)),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # noqa: D102
        code = self.encoder(x)
        rows = code.permute(0, 2, 3, 1)
        nearest = torch.cdist(rows.flatten(0, 2).detach(), self.codebook.weight).argmin(1)
        found = self.codebook(nearest).reshape(rows.shape).permute(0, 3, 1, 2)
        return self.decoder(code + (found - code).detach()), code, found


def lenet() -> nn.Module:
    """LeNet-5 with Softsign units, a batch norm before the last of them, and 10 logits."""
    return nn.Sequential(
        *(nn.Conv2d(3, 16, 5, padding=2), nn.Softsign(), nn.AvgPool2d(2)),
        *(nn.Conv2d(16, 32, 5, padding=2), nn.Softsign(), nn.AvgPool2d(2), nn.Flatten()),
        *(nn.Linear(32 * 16, 96), nn.BatchNorm1d(96), nn.Softsign(), nn.Linear(96, 10)),
    )


def all_convolutional() -> nn.Module:
    """Springenberg's net: ten convolutions, no pooling, no dense layer, no norm."""
    layers: list[nn.Module] = []
    widths = (3, 24, 24, 24, 24, 32, 32, 32, 32, 32)
    for i, (fan_in, fan_out) in enumerate(itertools.pairwise(widths)):
        layer = nn.Conv2d(fan_in, fan_out, 3, 2 if i in (1, 5) else 1, 1)
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers, nn.Conv2d(32, 10, 1), Pool())
