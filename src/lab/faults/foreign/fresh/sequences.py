"""Nets of the fresh part for sequences and signals."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lab.faults.foreign.nets import mlp


class Causal(nn.Conv1d):
    """A dilated convolution of size 2 that sees the present and the past alone."""

    def __init__(self, fan_in: int, fan_out: int, dilation: int) -> None:
        super().__init__(fan_in, fan_out, 2, dilation=dilation)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return super().forward(F.pad(x, (self.dilation[0], 0)))


class TemporalNet(nn.Module):
    """TCN: causal convolutions with batch norm: (B, C, T) to logits (B, K, T)."""

    def __init__(self, channels: int, outputs: int, width: int = 32) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        fan_in = channels
        for dilation in (1, 2, 4, 1, 2, 4):
            layers += [Causal(fan_in, width, dilation), nn.BatchNorm1d(width), nn.ReLU()]
            fan_in = width
        self.body, self.head = nn.Sequential(*layers), nn.Conv1d(width, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        y: Tensor = self.head(self.body(x))
        return y


class WaveNet(nn.Module):
    """WaveNet: gated residual layers whose skips are summed; (B, T) to (B, 2, T)."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.enter = nn.Conv1d(1, width, 1)
        self.gates = nn.ModuleList([Causal(width, 2 * width, 2**i) for i in range(4)])
        self.skips = nn.ModuleList([nn.Conv1d(width, 2 * width, 1) for _ in range(4)])
        self.head = nn.Sequential(nn.ReLU(), nn.Conv1d(width, 2, 1))

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        h = self.enter(x[:, None])
        total = torch.zeros_like(h)
        for gate, out in zip(self.gates, self.skips, strict=True):
            a, b = gate(h).chunk(2, 1)
            onward, skip = out(torch.tanh(a) * torch.sigmoid(b)).chunk(2, 1)
            h, total = h + onward, total + skip
        y: Tensor = self.head(total)
        return y


class Translator(nn.Module):
    """A GRU encoder and a GRU decoder that is fed the true tokens: (B, T), (B, T) to logits."""

    def __init__(self, tokens: int, width: int = 64) -> None:
        super().__init__()
        self.source, self.target = nn.Embedding(tokens, width), nn.Embedding(tokens, width)
        self.encoder = nn.GRU(width, width, batch_first=True)
        self.decoder = nn.GRU(width, width, batch_first=True)
        self.head = nn.Linear(width, tokens)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:  # noqa: D102
        _, state = self.encoder(self.source(x))
        before = F.pad(y[:, :-1], (1, 0))
        logits: Tensor = self.head(self.decoder(self.target(before), state)[0])
        return logits


class Pointer(nn.Module):
    """An LSTM over a set, and attention that points at one of its elements: (B, N, C) to (B, N)."""

    def __init__(self, inputs: int, width: int = 48) -> None:
        super().__init__()
        self.encoder = nn.LSTM(inputs, width, batch_first=True)
        self.keys, self.query = nn.Linear(width, width), nn.Linear(width, width)
        self.score = nn.Linear(width, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        states, (last, _) = self.encoder(x)
        mixed = torch.tanh(self.keys(states) + self.query(last[0])[:, None])
        y: Tensor = self.score(mixed)[..., 0]
        return y


class Tagger(nn.Module):
    """Scores of tags for each time (B, T, K), and the transition scores of a linear-chain CRF."""

    def __init__(self, inputs: int, tags: int) -> None:
        super().__init__()
        self.emit = mlp(inputs, 32, 32, tags, act=nn.Hardtanh)
        self.moves = nn.Parameter(torch.zeros(tags, tags))

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        y: Tensor = self.emit(x)
        return y

    def likelihood(self, emitted: Tensor, y: Tensor) -> Tensor:
        """Return the log-likelihood (B) of tags y (B, T): Lafferty et al. 2001."""
        at = emitted.gather(2, y[..., None])[..., 0].sum(1)
        path = at + self.moves[y[:, :-1], y[:, 1:]].sum(1)
        total = emitted[:, 0]
        for t in range(1, emitted.shape[1]):
            total = torch.logsumexp(total[:, :, None] + self.moves, 1) + emitted[:, t]
        return path - torch.logsumexp(total, 1)

    def best(self, emitted: Tensor) -> Tensor:
        """Return the most likely tags (B, T): Viterbi."""
        total, back = emitted[:, 0], []
        for t in range(1, emitted.shape[1]):
            best, chosen = (total[:, :, None] + self.moves).max(1)
            total = best + emitted[:, t]
            back.append(chosen)
        tags = [total.argmax(1)]
        for chosen in reversed(back):
            tags.append(chosen.gather(1, tags[-1][:, None])[:, 0])
        return torch.stack(tags[::-1], 1)
