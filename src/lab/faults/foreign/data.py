"""The data of the foreign suite: small CIFAR-10 images, and made-up data of known structure.

A draw returns a batch whose first tensor is the net's input. Made-up data are drawn anew each time,
so that no example occurs twice.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn import functional as F

Batch: TypeAlias = tuple[Tensor, ...]
Draw: TypeAlias = Callable[[Generator, int, bool], Batch]  # generator, examples, held out
FOLDER = Path("data")


@functools.cache
def _pictures() -> tuple[Tensor, Tensor]:
    """Return CIFAR-10's first 12000 images, averaged to 16x16 and standardized, and labels."""
    rows = np.array(np.load(FOLDER / "cifar10.npy", mmap_mode="r")[:12_000])
    images = torch.from_numpy(rows[:, 1:].reshape(-1, 3, 32, 32)).float() / 255
    images = F.avg_pool2d(images, 2)
    images = (images - images.mean((0, 2, 3), True)) / images.std((0, 2, 3), keepdim=True)
    return images, torch.from_numpy(rows[:, 0].astype(np.int64))


def pictures(generator: Generator, n: int, held_out: bool) -> Batch:
    """Draw images (B, 3, 16, 16) and labels (B)."""
    images, labels = _pictures()
    low, high = (10_000, 12_000) if held_out else (0, 10_000)
    chosen = torch.randint(low, high, (n,), generator=generator)
    return images[chosen], labels[chosen]


def views(generator: Generator, n: int, held_out: bool) -> Batch:
    """Draw two augmented views of each image: mirrored, shifted, noisy, with another contrast."""

    def view(x: Tensor) -> Tensor:
        mirror = torch.rand(n, 1, 1, 1, generator=generator) < 0.5
        x = torch.where(mirror, x.flip(3), x)
        shift = int(torch.randint(-2, 3, (), generator=generator))
        contrast = 0.7 + 0.6 * torch.rand(n, 1, 1, 1, generator=generator)
        return x.roll(shift, 2) * contrast + 0.2 * torch.randn(x.shape, generator=generator)

    images, labels = pictures(generator, n, held_out)
    return view(images), view(images), labels


def mixing(seed: int, *shape: int) -> Tensor:
    """Return fixed random numbers of this shape."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def teacher_classes(inputs: int, classes: int, seed: int) -> Draw:
    """Return points x (B, inputs) with the class that a random net of two layers gives them."""
    first, second = mixing(seed, inputs, 32) / math.sqrt(inputs), mixing(seed + 1, 32, classes)

    def draw(generator: Generator, n: int, held_out: bool) -> Batch:
        x = torch.randn(n, inputs, generator=generator)
        return x, (torch.tanh(x @ first) @ second).argmax(1)

    return draw


def teacher_values(inputs: int, outputs: int, seed: int, noise: float = 0.1) -> Draw:
    """Return points x (B, inputs) and noisy values (B, outputs) of variance 1 of a random net."""
    first, second = mixing(seed, inputs, 16) / math.sqrt(inputs), mixing(seed + 1, 16, outputs)

    def draw(generator: Generator, n: int, held_out: bool) -> Batch:
        x = torch.randn(n, inputs, generator=generator)
        y = torch.tanh(2 * x @ first) @ second / 3
        return x, y + noise * torch.randn(y.shape, generator=generator)

    return draw


def mapped(draw: Draw, change: Callable[[Batch, Generator], Batch]) -> Draw:
    """Return data that `change` makes from other data."""

    def changed(generator: Generator, n: int, held_out: bool) -> Batch:
        return change(draw(generator, n, held_out), generator)

    return changed


def one_in_ten(generator: Generator, n: int, held_out: bool) -> Batch:
    """Draw points (B, 20) of which a tenth has class 1, with a shifted mean."""
    y = (torch.rand(n, generator=generator) < 0.1).long()
    x = torch.randn(n, 20, generator=generator)
    x[:, :4] += 1.2 * y[:, None]
    return x, y


def rare_labels(generator: Generator, n: int, held_out: bool) -> Batch:
    """Draw points (B, 24) and 12 labels, each of which is 1 for about 5 %."""
    x = torch.randn(n, 24, generator=generator)
    return x, (x @ mixing(3, 24, 12) / math.sqrt(24) > 1.64).float()


def sequences(generator: Generator, n: int, held_out: bool) -> Batch:
    """Draw sequences (B, 12, 4) and two values: means over time of nonlinear features."""
    x = torch.randn(n, 12, 4, generator=generator)
    y = torch.stack([x[:, -4:, 0].sum(1) / 2, (x[:, -3:, 1] > 0).float().sum(1) - 1.5], 1)
    return x, y


def signals(generator: Generator, n: int, held_out: bool) -> Batch:
    """Draw waves (B, 2, 32) whose class (of 4) is their frequency, in noise."""
    y = torch.randint(0, 4, (n,), generator=generator)
    t = torch.arange(32) / 32
    phase = 2 * math.pi * torch.rand(n, 2, 1, generator=generator)
    x = torch.sin(2 * math.pi * (y[:, None, None] + 2) * t + phase)
    return x + 0.5 * torch.randn(x.shape, generator=generator), y


def chains(tokens: int, length: int, seed: int) -> Draw:
    """Return token sequences (B, length) of a second-order Markov chain."""
    logits = 2.5 * mixing(seed, tokens, tokens, 1) + 1.5 * mixing(seed + 1, tokens, 1, tokens)
    table = (logits.transpose(1, 2) + 2 * mixing(seed + 2, tokens, tokens, tokens) / 2).softmax(-1)

    def draw(generator: Generator, n: int, held_out: bool) -> Batch:
        x = torch.randint(0, tokens, (n, length), generator=generator)
        for t in range(2, length):
            p = table[x[:, t - 2], x[:, t - 1]]
            x[:, t] = torch.multinomial(p, 1, generator=generator)[:, 0]
        return (x,)

    return draw


def spelled(generator: Generator, n: int, held_out: bool) -> Batch:
    """Draw noisy codes (B, 6, 20) of 4 tokens (B, 4), of 1 to 5: each takes 5 time steps."""
    y = torch.randint(1, 6, (n, 4), generator=generator)
    x = F.one_hot(y.repeat_interleave(5, 1), 6).float().transpose(1, 2).clone()
    x[:, :, ::5] = 0
    return x + 0.3 * torch.randn(x.shape, generator=generator), y


NODES = 12


def ring() -> Tensor:
    """Return the normalized adjacency matrix of a ring with itself and its neighbours."""
    eye = torch.eye(NODES)
    return (eye + eye.roll(1, 0) + eye.roll(-1, 0)) / 3


def graphs(generator: Generator, n: int, held_out: bool) -> Batch:
    """Draw node features (B, N, 4) and a value for each node, a function of its neighbours'."""
    x = torch.randn(n, NODES, 4, generator=generator)
    near = ring() @ x
    return x, torch.tanh(3 * near[:, :, :1]) + near[:, :, 1:2]


def sets(generator: Generator, n: int, held_out: bool) -> Batch:
    """Draw sets (B, 16, 3) and their class (of 3): which coordinate has the largest spread."""
    spread = 0.5 + 1.0 * torch.rand(n, 1, 3, generator=generator)
    return torch.randn(n, 16, 3, generator=generator) * spread, spread[:, 0].argmax(1)


def counts(generator: Generator, n: int, held_out: bool) -> Batch:
    """Draw points (B, 8) and counts (B, 1) with a rate that depends on them."""
    x = 3 * torch.rand(n, 8, generator=generator) - 1.5
    rate = (x[:, :1] + 0.7 * torch.sin(2 * x[:, 1:2])).exp() * 2
    return x, torch.poisson(rate, generator=generator)


def waves(generator: Generator, n: int, held_out: bool) -> Batch:
    """Draw points (B, 2) in the unit square and the values (B, 1) of a wavy picture."""
    x = 2 * torch.rand(n, 2, generator=generator) - 1
    return x, torch.sin(12 * x[:, :1]) * torch.cos(9 * x[:, 1:])


def moons(generator: Generator, n: int, held_out: bool) -> Batch:
    """Draw points (B, 2) on two interleaved half circles, centred, of about unit variance."""
    upper = torch.rand(n, generator=generator) < 0.5
    angle = math.pi * torch.rand(n, generator=generator)
    sign = torch.where(upper, 1.0, -1.0)
    x = torch.stack([angle.cos() * sign - sign / 2, angle.sin() * sign - sign / 4], 1)
    return (x + 0.08 * torch.randn(n, 2, generator=generator),)


def factors(generator: Generator, n: int, held_out: bool) -> Batch:
    """Draw pairs of user and item (B, 2) and ratings (B) around 3 from hidden factors."""
    users, items = mixing(5, 60, 3), mixing(6, 40, 3)
    pairs = torch.stack(
        [
            torch.randint(0, 60, (n,), generator=generator),
            torch.randint(0, 40, (n,), generator=generator),
        ],
        1,
    )
    rating = 0.5 * (users[pairs[:, 0]] * items[pairs[:, 1]]).sum(1) + 3
    return pairs, rating + 0.2 * torch.randn(n, generator=generator)


def spots(generator: Generator, n: int, held_out: bool) -> Batch:
    """Draw images (B, 1, 8, 8) in -1 to 1: a bright ring of random strength, and noise."""
    axis = torch.arange(8) - 3.5
    radius = (axis[:, None] ** 2 + axis**2).sqrt()
    shape = 1.6 * (-((radius - 2.5) ** 2)).exp() - 0.8
    strength = 0.8 + 0.2 * torch.rand(n, 1, 1, 1, generator=generator)
    noise = 0.1 * torch.randn(n, 1, 8, 8, generator=generator)
    return ((shape * strength + noise).clamp(-1, 1),)


def bandit(generator: Generator, n: int, held_out: bool) -> Batch:
    """Draw contexts (B, 10) and the reward of each of 5 arms (B, 5)."""
    x = torch.randn(n, 10, generator=generator)
    mean = torch.tanh(x @ mixing(7, 10, 5))
    return x, mean + 0.3 * torch.randn(n, 5, generator=generator)


def low_dimensional(inputs: int, latent: int, seed: int) -> Draw:
    """Return points (B, inputs) near a curved surface of few dimensions."""
    first, second = mixing(seed, latent, 24), mixing(seed + 1, 24, inputs) / math.sqrt(24)

    def draw(generator: Generator, n: int, held_out: bool) -> Batch:
        z = torch.randn(n, latent, generator=generator)
        x = torch.tanh(z @ first / math.sqrt(latent)) @ second * 1.6
        return (x + 0.05 * torch.randn(n, inputs, generator=generator),)

    return draw


def collocation(generator: Generator, n: int, held_out: bool) -> Batch:
    """Draw points (B, 1) in -1 to 1."""
    return (2 * torch.rand(n, 1, generator=generator) - 1,)


def noised(x: Tensor) -> Batch:
    """Return x with noise of a random level (B), the levels, and the noise."""
    t = torch.rand(len(x))
    signal = torch.cos(t * math.pi / 2).reshape(-1, *[1] * (x.ndim - 1))
    noise = torch.randn_like(x)
    return signal * x + (1 - signal**2).sqrt() * noise, t, noise
