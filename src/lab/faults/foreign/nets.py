"""Nets of the foreign suite for vectors, sequences, sets and graphs, and what all nets share.

Small versions of what strangers would bring. The nets know nothing of losses, data or faults.
Activations are modules if a fault replaces them, and functions in some others.
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
        self.layers = nn.ModuleList(nn.Linear(fan_in, 128) for fan_in in (inputs, 64, 64))
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
        self.encoder, self.act = nn.Linear(inputs, width), nn.ReLU()
        self.decoder, self.k = nn.Linear(width, inputs), k

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


class Snake(nn.Module):
    """x + sin(x)^2, a periodic activation."""

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
        y: Tensor = (self.gate(x).softmax(-1)[:, :, None] * each).sum(1)
        return y


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


def plain(widths: Sequence[int], act: Act, init: Callable[[Tensor], Any]) -> nn.Module:
    """Return a dense net whose weights `init` draws and whose biases are 0."""
    net = mlp(*widths, act=act)
    for p in net.parameters():
        if p.ndim > 1:
            init(p)
        else:
            nn.init.zeros_(p)
    return net
