"""Nets of the fresh part for vectors, sets, graphs and functions; see `sequences.py` for others."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

from lab.faults.foreign.nets import Act, Residual, mlp, plain


class Maxout(nn.Module):
    """The largest of three linear maps in each unit."""

    def __init__(self, fan_in: int, fan_out: int) -> None:
        super().__init__()
        self.linear = nn.Linear(fan_in, 3 * fan_out)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        y: Tensor = self.linear(x).unflatten(-1, (3, -1)).amax(-2)
        return y


def maxout() -> nn.Module:
    """Three maxout layers: (B, 2) to (B, 3)."""
    return nn.Sequential(Maxout(2, 32), Maxout(32, 32), Maxout(32, 32), nn.Linear(32, 3))


class PointNet(nn.Module):
    """PointNet: a net for each point, the maximum over points, a net for the set."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for fan_in, fan_out in ((inputs, 32), (32, 64), (64, 96)):
            layers += [nn.Conv1d(fan_in, fan_out, 1), nn.BatchNorm1d(fan_out), nn.ReLU()]
        self.each, self.all = nn.Sequential(*layers), mlp(96, 48, outputs)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        y: Tensor = self.all(self.each(x.transpose(1, 2)).amax(2))
        return y


class Siamese(nn.Module):
    """The distance (B) between two points (B, 2, inputs) in a learned space."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.encoder = mlp(inputs, 64, 64, 64, 8, act=nn.LeakyReLU)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        a, b = self.encoder(x[:, 0]), self.encoder(x[:, 1])
        y: Tensor = ((a - b).square().sum(1) + 1e-6).sqrt()
        return y


class Ordinal(nn.Module):
    """CORAL: one score with an ordered row of biases, to logits of "more than level k"."""

    def __init__(self, inputs: int, levels: int) -> None:
        super().__init__()
        blocks = [
            Residual(nn.Sequential(nn.BatchNorm1d(64), nn.CELU(), nn.Linear(64, 64)))
            for _ in range(2)
        ]
        self.body = nn.Sequential(nn.Linear(inputs, 64), *blocks, nn.Linear(64, 1, bias=False))
        self.steps = nn.Parameter(torch.linspace(1, -1, levels - 1))

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        y: Tensor = self.body(x) + self.steps
        return y


class RadialBasis(nn.Module):
    """Gaussian bumps around learned centres, and a linear layer."""

    def __init__(self, inputs: int, units: int) -> None:
        super().__init__()
        self.centres = nn.Parameter(2 * torch.rand(units, inputs) - 1)
        self.log_width = nn.Parameter(torch.full((units,), -0.7))
        self.head = nn.Linear(units, 1)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        squared = (x[:, None] - self.centres).square().sum(-1)
        y: Tensor = self.head((-squared / (2 * (2 * self.log_width).exp())).exp())
        return y


class TabularTransformer(nn.Module):
    """FT-Transformer: each number becomes a token; a class token gives the value."""

    def __init__(self, inputs: int, width: int = 32) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(inputs, width) / math.sqrt(width))
        self.shift = nn.Parameter(torch.randn(inputs, width) / math.sqrt(width))
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        layer = nn.TransformerEncoderLayer(width, 4, 64, 0.0, "relu", batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(width, 1)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        tokens = x[..., None] * self.weight + self.shift
        tokens = torch.cat([self.token.expand(len(x), -1, -1), tokens], 1)
        y: Tensor = self.head(self.encoder(tokens)[:, 0])
        return y


class CrossNet(nn.Module):
    """DCN-v2: x0 * (W x + b) + x three times, beside a dense net: (..., inputs) to (...)."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.cross = nn.ModuleList([nn.Linear(inputs, inputs) for _ in range(3)])
        self.deep, self.head = mlp(inputs, 48, 48), nn.Linear(inputs + 48, 1)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        crossed = x
        for layer in self.cross:
            crossed = x * layer(crossed) + crossed
        y: Tensor = self.head(torch.cat([crossed, self.deep(x)], -1))[..., 0]
        return y


class NeuralODE(nn.Module):
    """Ten Runge-Kutta steps of a learned vector field."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.field = mlp(inputs, 48, 48, inputs, act=nn.Tanh)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        for _ in range(10):
            middle = x + 0.05 * self.field(x)
            x = x + 0.1 * self.field(middle)
        return x


class Energy(nn.Module):
    """An energy (B) of points (B, 2) with smooth units, for its gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.net = mlp(2, 64, 64, 64, 1, act=nn.Softplus)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        y: Tensor = self.net(x)[:, 0]
        return y


def mixture_density(components: int = 5) -> nn.Module:
    """Logits, means and log deviations of a mixture: (B, 1) to (B, 3 K)."""
    return mlp(1, 48, 48, 3 * components, act=nn.Tanh)


def risk() -> nn.Module:
    """DeepSurv: SELU layers with alpha dropout to a log hazard (B, 1)."""
    layers = [nn.Linear(10, 48), nn.SELU(), nn.AlphaDropout(0.1)]
    layers += [nn.Linear(48, 48), nn.SELU(), nn.AlphaDropout(0.1), nn.Linear(48, 1, bias=False)]
    return nn.Sequential(*layers)


class SkipGram(nn.Module):
    """Word2vec: the product of a word's vector and the vectors of others (B, K)."""

    def __init__(self, words: int, width: int) -> None:
        super().__init__()
        self.word, self.context = nn.Embedding(words, width), nn.Embedding(words, width)
        nn.init.uniform_(self.word.weight, -0.5 / width, 0.5 / width)
        nn.init.zeros_(self.context.weight)

    def forward(self, words: Tensor) -> Tensor:  # noqa: D102
        return torch.einsum("bd,bkd->bk", self.word(words[:, 0]), self.context(words[:, 1:]))


def _parametrized(wrap: Callable[[nn.Module], nn.Module], act: Act, *widths: int) -> nn.Module:
    net = mlp(*widths, act=act)
    for layer in net:
        if isinstance(layer, nn.Linear):
            wrap(layer)
    return net


def weight_normed() -> nn.Module:
    """Weight normalization and randomized leaky ReLUs: (B, 12) to a value and a log scale."""
    return _parametrized(parametrizations.weight_norm, nn.RReLU, 12, 64, 64, 64, 2)


def spectral_normed() -> nn.Module:
    """Spectral norm and PReLUs: pairs (B, 12) to a logit; a last layer sets the scale."""
    body = _parametrized(parametrizations.spectral_norm, nn.PReLU, 12, 64, 64, 64)
    return nn.Sequential(body, nn.PReLU(), nn.Linear(64, 1))


class MaskedLinear(nn.Linear):
    """A dense layer of which a mask removes some weights."""

    mask: Tensor

    def __init__(self, order_in: Tensor, order_out: Tensor, strict: bool) -> None:
        super().__init__(len(order_in), len(order_out))
        later = order_out[:, None] > order_in if strict else order_out[:, None] >= order_in
        self.register_buffer("mask", later.float())

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return F.linear(x, self.weight * self.mask, self.bias)


class AutoregressiveFlow(nn.Module):
    """MAF of one MADE: mean and log deviation (B, 2 D) of each number given those before."""

    def __init__(self, inputs: int, width: int = 60) -> None:
        super().__init__()
        order, hidden = torch.arange(inputs), torch.arange(width) % (inputs - 1)
        self.layers = nn.Sequential(
            *(MaskedLinear(order, hidden, False), nn.ELU()),
            *(MaskedLinear(hidden, hidden, False), nn.ELU()),
            MaskedLinear(hidden, order.repeat(2), True),
        )

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        y: Tensor = self.layers(x)
        return y


class GaussianPolicy(nn.Module):
    """Layer norms and tanh: states (B, 8) to the mean action (B, 2); a learned deviation."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *(nn.Linear(8, 48), nn.LayerNorm(48), nn.Tanh()),
            *(nn.Linear(48, 48), nn.LayerNorm(48), nn.Tanh(), nn.Linear(48, 2)),
        )
        self.log_std = nn.Parameter(torch.full((2,), -0.7))

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        y: Tensor = self.body(x)
        return y


class GraphAttention(nn.Module):
    """Two GAT layers of 4 heads on graphs (B, N, C) with an adjacency (B, N, N)."""

    def __init__(self, inputs: int, outputs: int, width: int = 32) -> None:
        super().__init__()
        self.values = nn.ModuleList([nn.Linear(inputs, width), nn.Linear(width, width)])
        self.scores = nn.ModuleList([nn.Linear(width, 8), nn.Linear(width, 8)])
        self.head = nn.Linear(2 * width, outputs)
        self.enter = nn.Linear(inputs, width)

    def forward(self, x: Tensor, linked: Tensor) -> Tensor:  # noqa: D102
        own = F.elu(self.enter(x))
        for value, score in zip(self.values, self.scores, strict=True):
            v = value(x)
            to, from_ = score(v).chunk(2, -1)
            e = F.leaky_relu(to[:, :, None] + from_[:, None], 0.2)
            weights = e.masked_fill(linked[..., None] == 0, -1e9).softmax(2)
            x = F.elu(torch.einsum("bnmh,bmhd->bnhd", weights, v.unflatten(-1, (4, -1))).flatten(2))
        y: Tensor = self.head(torch.cat([x, own], -1))
        return y


class Hypernetwork(nn.Module):
    """A net that reads examples (B, K, 3) and writes the weights that answer a query (B, 2)."""

    def __init__(self) -> None:
        super().__init__()
        self.reader = mlp(15, 128, 128, 2 * 8 + 8 + 8, act=nn.ReLU6)

    def forward(self, examples: Tensor, query: Tensor) -> Tensor:  # noqa: D102
        w1, b1, w2 = self.reader(examples.flatten(1)).split((16, 8, 8), 1)
        hidden = torch.einsum("bi,bij->bj", query, w1.unflatten(1, (2, 8))) + b1
        y: Tensor = (F.leaky_relu(hidden) * w2).sum(1, keepdim=True)
        return y


class FourierFeatures(nn.Module):
    """Random sines and cosines of the input, then a dense net (Tancik et al. 2020)."""

    waves: Tensor

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.register_buffer("waves", 2 * torch.randn(inputs, 32))
        self.net = mlp(64, 64, 64, 1, act=nn.ReLU)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        phase = x @ self.waves
        y: Tensor = self.net(torch.cat([phase.sin(), phase.cos()], 1))
        return y


class SpectralConv(nn.Module):
    """Multiply the lowest Fourier modes of (B, C, T) by complex weights, and add a 1x1 layer."""

    def __init__(self, width: int, modes: int) -> None:
        super().__init__()
        scale = 1 / width
        self.weight = nn.Parameter(scale * torch.randn(width, width, modes, dtype=torch.cfloat))
        self.modes, self.local = modes, nn.Conv1d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        spectrum = torch.fft.rfft(x)
        low = torch.einsum("bit,iot->bot", spectrum[..., : self.modes], self.weight)
        y: Tensor = torch.fft.irfft(low, n=x.shape[-1]) + self.local(x)
        return y


def neural_operator() -> nn.Module:
    """FNO: functions (B, 1, T) to functions."""
    layers = [nn.Conv1d(1, 24, 1), SpectralConv(24, 8), nn.GELU(), SpectralConv(24, 8)]
    layers += [nn.GELU(), nn.Conv1d(24, 32, 1), nn.GELU(), nn.Conv1d(32, 1, 1)]
    return nn.Sequential(*layers)


def deep_elu(inputs: int) -> nn.Module:
    """Twelve dense layers with ELUs and orthogonal weights."""
    return plain((inputs, *[64] * 11, 1), nn.ELU, partial(nn.init.orthogonal_, gain=1.2))


def deep_softsign(inputs: int, classes: int) -> nn.Module:
    """Ten dense layers with Softsign units and orthogonal weights."""
    return plain((inputs, *[64] * 9, classes), nn.Softsign, partial(nn.init.orthogonal_, gain=1.4))
