"""The data of the fresh part: draws as in the other parts, of other tasks."""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from lab.faults.foreign.data import Batch, Draw, mixing, pictures


def rotated(generator: Generator, n: int, held_out: bool) -> Batch:
    """Draw images (B, 3, 16, 16) turned by 0 to 3 quarters, and how many (B)."""
    x, _ = pictures(generator, n, held_out)
    turns = torch.randint(0, 4, (n,), generator=generator)
    return torch.stack([x[i].rot90(int(k), (1, 2)) for i, k in enumerate(turns)]), turns


def cut_out(generator: Generator, n: int, held_out: bool) -> Batch:
    """Draw images with a missing square, and labels of which 30 % are wrong; not if held out."""
    x, y = pictures(generator, n, held_out)
    if held_out:
        return x, y
    row, column = torch.randint(0, 11, (2,), generator=generator).tolist()
    x = x.clone()
    x[:, :, row : row + 6, column : column + 6] = 0
    wrong = torch.rand(n, generator=generator) < 0.3
    return x, torch.where(wrong, torch.randint(0, 10, (n,), generator=generator), y)


def mixed(generator: Generator, n: int, held_out: bool) -> Batch:
    """Draw mixtures of two images, their mixed labels (B, 10), and the first label (mixup)."""
    x, y = pictures(generator, n, held_out)
    soft = F.one_hot(y, 10).float()
    if held_out:
        return x, soft, y
    share = 0.6 + 0.4 * torch.rand(n, generator=generator)
    image = share[:, None, None, None]
    x = image * x + (1 - image) * x.roll(1, 0)
    return x, share[:, None] * soft + (1 - share[:, None]) * soft.roll(1, 0), y


def _grid(size: int) -> tuple[Tensor, Tensor]:
    axis = torch.arange(size).float()
    return axis[:, None], axis[None, :]


def discs(generator: Generator, n: int, held_out: bool) -> Batch:
    """Draw noisy images (B, 1, 16, 16) with two discs, and their mask (B, 1, 16, 16)."""
    rows, columns = _grid(16)
    centre = 3 + 10 * torch.rand(n, 2, 2, 1, 1, generator=generator)
    radius = 1.5 + 2 * torch.rand(n, 2, 1, 1, generator=generator)
    distance = (rows - centre[:, :, 0]) ** 2 + (columns - centre[:, :, 1]) ** 2
    mask = (distance < radius**2).any(1, keepdim=True).float()
    return mask + 0.7 * torch.randn(mask.shape, generator=generator), mask


def stripes(generator: Generator, n: int, held_out: bool) -> Batch:
    """Draw black-and-white images (B, 1, 8, 8): diagonal stripes with some flipped pixels."""
    rows, columns = _grid(8)
    slope = torch.randint(0, 2, (n, 1, 1, 1), generator=generator) * 2 - 1
    phase = torch.randint(0, 4, (n, 1, 1, 1), generator=generator)
    x = ((rows + slope * columns + phase) % 4 < 2).float()
    flipped = torch.rand(x.shape, generator=generator) < 0.05
    return (torch.where(flipped, 1 - x, x),)


def glyphs(generator: Generator, n: int, held_out: bool) -> Batch:
    """Draw images (B, 1, 12, 12) of bars: each row and each column is bright or not."""
    lines = (torch.rand(n, 2, 12, generator=generator) < 0.25).float()
    x = torch.maximum(lines[:, 0, :, None], lines[:, 1, None, :])[:, None]
    return (x - 0.4 + 0.1 * torch.randn(x.shape, generator=generator),)


def episodes(generator: Generator, n: int, held_out: bool) -> Batch:
    """Draw signals (B, 2, 48) of three episodes, and the episode's kind (of 3) at each time."""
    kind = torch.randint(0, 3, (n, 3), generator=generator).repeat_interleave(16, 1)
    t = torch.arange(48)
    phase = 6.28 * torch.rand(n, 1, generator=generator)
    wave = torch.sin(t * (0.3 + 0.6 * kind) + phase)
    x = torch.stack([wave, wave.roll(1, 1)], 1)
    return x + 0.4 * torch.randn(x.shape, generator=generator), kind


def tones(generator: Generator, n: int, held_out: bool) -> Batch:
    """Draw noisy waves (B, 33) of unknown frequency and phase."""
    frequency = 0.2 + 0.6 * torch.rand(n, 1, generator=generator)
    phase = 2 * math.pi * torch.rand(n, 1, generator=generator)
    x = torch.sin(frequency * torch.arange(33) + phase)
    return (x + 0.1 * torch.randn(x.shape, generator=generator),)


def clouds(generator: Generator, n: int, held_out: bool) -> Batch:
    """Draw point clouds (B, 24, 2) of random size and their shape: circle, square or cross."""
    y = torch.randint(0, 3, (n,), generator=generator)
    t = 2 * torch.rand(n, 24, generator=generator) - 1
    side = torch.randint(0, 4, (n, 24), generator=generator)
    circle = torch.stack([(math.pi * t).cos(), (math.pi * t).sin()], -1)
    sign = torch.where(side % 2 == 0, 1.0, -1.0)
    first = side < 2
    square = torch.stack([torch.where(first, t, sign), torch.where(first, sign, t)], -1) * 0.8
    cross = torch.stack([t, torch.where(first, t, -t)], -1) * 0.8
    points = torch.stack([circle, square, cross], 1)[torch.arange(n), y]
    size = 0.8 + 0.4 * torch.rand(n, 1, 1, generator=generator)
    return size * points + 0.05 * torch.randn(points.shape, generator=generator), y


def distances(generator: Generator, n: int, held_out: bool) -> Batch:
    """Draw pairs (B, 2, 12) and their distance (B) in a hidden space of 3 dimensions."""
    x = torch.randn(n, 2, 12, generator=generator)
    hidden = torch.tanh(x @ mixing(101, 12, 3) / 2)
    return x, (hidden[:, 0] - hidden[:, 1]).norm(dim=1)


def levels(generator: Generator, n: int, held_out: bool) -> Batch:
    """Draw points (B, 14) and their level (B), 0 to 5."""
    x = torch.randn(n, 14, generator=generator)
    value = torch.tanh(x @ mixing(102, 14, 8) / 3) @ mixing(103, 8)
    value = value + 0.3 * torch.randn(n, generator=generator)
    return x, torch.bucketize(value, torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0]))


def skewed(generator: Generator, n: int, held_out: bool) -> Batch:
    """Draw points (B, 3) in a cube and values (B, 1) with one-sided noise."""
    x = 2 * torch.rand(n, 3, generator=generator) - 1
    y = torch.sin(3 * x[:, :1]) * x[:, 1:2] + x[:, 2:] ** 2
    return x, y + 0.2 * torch.empty(n, 1).exponential_(generator=generator)


def outliers(generator: Generator, n: int, held_out: bool) -> Batch:
    """Draw tables (B, 10) and values (B, 1) of which a tenth is far off; not if held out."""
    x = torch.randn(n, 10, generator=generator)
    y = x[:, :1] * torch.sigmoid(2 * x[:, 1:2]) + torch.tanh(x[:, 2:3] - x[:, 3:4])
    far = (torch.rand(n, 1, generator=generator) < 0.1) & (not held_out)
    return x, y + 20 * far * torch.randn(n, 1, generator=generator)


def preferences(generator: Generator, n: int, held_out: bool) -> Batch:
    """Draw pairs of items (B, 2, 14) and which one is preferred: 1 or -1 (B)."""
    x = torch.randn(n, 2, 14, generator=generator)
    worth = x[..., 0] * x[..., 1] + x[..., 2] - x[..., 3]
    noise = 0.3 * torch.randn(n, generator=generator)
    return x, torch.where(worth[:, 0] - worth[:, 1] + noise > 0, 1.0, -1.0)


def swings(generator: Generator, n: int, held_out: bool) -> Batch:
    """Draw the state (B, 2) of a damped pendulum and the state 1.5 s later."""
    x = 2 * (2 * torch.rand(n, 2, generator=generator) - 1)
    angle, speed = x[:, 0], x[:, 1]
    for _ in range(30):
        speed = speed - 0.05 * (4 * torch.sin(angle) + 0.2 * speed)
        angle = angle + 0.05 * speed
    return x, torch.stack([angle, speed], 1)


def rings(generator: Generator, n: int, held_out: bool) -> Batch:
    """Draw points (B, 2) on two rings around 0."""
    angle = 2 * math.pi * torch.rand(n, generator=generator)
    radius = torch.where(torch.rand(n, generator=generator) < 0.5, 0.6, 1.6)
    x = radius[:, None] * torch.stack([angle.cos(), angle.sin()], 1)
    return (x + 0.05 * torch.randn(n, 2, generator=generator),)


def inverse(generator: Generator, n: int, held_out: bool) -> Batch:
    """Draw x (B, 1) and y (B, 1) where most x have three possible y (Bishop 1994)."""
    y = torch.rand(n, 1, generator=generator)
    x = y + 0.3 * torch.sin(2 * math.pi * y) + 0.05 * torch.randn(n, 1, generator=generator)
    return x, y


def survival(generator: Generator, n: int, held_out: bool) -> Batch:
    """Draw points (B, 10), the time (B) until an event or the end, and whether it happened (B)."""
    x = torch.randn(n, 10, generator=generator)
    risk = 1.5 * x[:, 0] + torch.tanh(2 * x[:, 1]) - x[:, 2] * (x[:, 3] > 0)
    time = torch.empty(n).exponential_(generator=generator) / risk.exp()
    end = 2 * torch.rand(n, generator=generator)
    return x, torch.minimum(time, end), (time < end).float()


WORDS, NEGATIVES = 60, 4


def contexts(generator: Generator, n: int, held_out: bool) -> Batch:
    """Draw words (B, 6): one, a word of its context, and four words of any context."""
    topic = torch.randint(0, 6, (n,), generator=generator)
    word = 10 * topic + torch.randint(0, 10, (n,), generator=generator)
    near = 10 * topic + torch.randint(0, 10, (n,), generator=generator)
    other = torch.randint(0, WORDS, (n, NEGATIVES), generator=generator)
    return (torch.cat([word[:, None], near[:, None], other], 1),)


def reversals(generator: Generator, n: int, held_out: bool) -> Batch:
    """Draw tokens (B, 5) from 1 to 6, and the same tokens in reverse order."""
    x = torch.randint(1, 7, (n, 5), generator=generator)
    return x, x.flip(1)


def uneven(generator: Generator, n: int, held_out: bool) -> Batch:
    """Draw points (B, 12) and values (B, 1) with Laplace noise whose scale depends on them."""
    x = torch.randn(n, 12, generator=generator)
    scale = 0.1 + 0.6 * torch.sigmoid(2 * x[:, :1])
    u = torch.rand(n, 1, generator=generator) - 0.5
    noise = -u.sign() * (1 - 2 * u.abs()).clamp_min(1e-6).log()
    return x, x[:, 1:2].abs() + torch.sin(2 * x[:, 2:3]) + scale * noise


def partners(generator: Generator, n: int, held_out: bool) -> Batch:
    """Draw pairs of points (B, 12): the second six numbers depend on the first six."""
    x = torch.randn(n, 6, generator=generator)
    y = torch.tanh(x @ mixing(104, 6, 6)) + 0.3 * torch.randn(n, 6, generator=generator)
    return (torch.cat([x, y], 1),)


def cascade(generator: Generator, n: int, held_out: bool) -> Batch:
    """Draw points (B, 6), each coordinate a noisy function of those before it."""
    x = torch.randn(n, 6, generator=generator)
    for i in range(1, 6):
        x[:, i] = torch.sin(2 * x[:, i - 1]) + 0.2 * x[:, i]
    return (x,)


def control(generator: Generator, n: int, held_out: bool) -> Batch:
    """Draw states (B, 8) and the action (B, 2) that is best there."""
    x = torch.randn(n, 8, generator=generator)
    return x, torch.tanh(x @ mixing(105, 8, 2))


def networks(generator: Generator, n: int, held_out: bool) -> Batch:
    """Draw features (B, 10, 4), adjacency (B, 10, 10), and each node's class (of 3)."""
    x = torch.randn(n, 10, 4, generator=generator)
    linked = (torch.rand(n, 10, 10, generator=generator) < 0.25) | torch.eye(10, dtype=torch.bool)
    linked = (linked | linked.transpose(1, 2)).float()
    near = (linked @ x) / linked.sum(-1, keepdim=True)
    return x, linked, near[..., :3].argmax(-1)


def maxima(generator: Generator, n: int, held_out: bool) -> Batch:
    """Draw sets (B, 8, 5) and the index of the element that is largest in a hidden direction."""
    x = torch.randn(n, 8, 5, generator=generator)
    return x, (x @ mixing(106, 5)).argmax(1)


def few_shots(generator: Generator, n: int, held_out: bool) -> Batch:
    """Draw five examples (B, 5, 3) of a hidden linear function, a query (B, 2), its value."""
    w = torch.randn(n, 2, 1, generator=generator)
    x = torch.randn(n, 6, 2, generator=generator)
    y = x @ w
    return torch.cat([x[:, :5], y[:, :5]], 2), x[:, 5], y[:, 5]


def fields(generator: Generator, n: int, held_out: bool) -> Batch:
    """Draw periodic functions (B, 1, 32), and the same after drift, diffusion and squaring."""
    t = 2 * math.pi * torch.arange(32) / 32
    a = torch.randn(n, 2, 4, generator=generator)
    k = torch.arange(1, 5)
    waves = torch.stack([(k[:, None] * t).sin(), (k[:, None] * t).cos()])
    later = torch.stack([(k[:, None] * (t - 0.5)).sin(), (k[:, None] * (t - 0.5)).cos()])
    u = torch.einsum("bik,ikt->bt", a / k, waves)
    v = torch.einsum("bik,ikt->bt", a * (-0.1 * k**2).exp() / k, later)
    return u[:, None], (v + 0.3 * v**2)[:, None]


def tagged(generator: Generator, n: int, held_out: bool) -> Batch:
    """Draw noisy observations (B, 10, 4) of hidden tags, and the tags (B, 10), of 4."""
    y = torch.randint(0, 4, (n, 10), generator=generator)
    stays = torch.rand(n, 10, generator=generator) < 0.7
    for t in range(1, 10):
        y[:, t] = torch.where(stays[:, t], (y[:, t - 1] + 1) % 4, y[:, t])
    return F.one_hot(y, 4) + 0.8 * torch.randn(n, 10, 4, generator=generator), y


def landscape(generator: Generator, n: int, held_out: bool) -> Batch:
    """Draw points (B, 3) and the height (B, 1) of a rugged landscape."""
    x = 2 * torch.rand(n, 3, generator=generator) - 1
    return x, torch.sin(6 * x[:, :1] * x[:, 1:2]) + 0.5 * torch.cos(8 * x[:, 2:])


def spirals(turns: float) -> Draw:
    """Return points (B, 2) on one of three spiral arms, and the arm."""

    def draw(generator: Generator, n: int, held_out: bool) -> Batch:
        y = torch.randint(0, 3, (n,), generator=generator)
        r = torch.rand(n, generator=generator)
        angle = 2 * math.pi * (turns * r + y / 3)
        x = 2 * r[:, None] * torch.stack([angle.cos(), angle.sin()], 1)
        return x + 0.05 * torch.randn(n, 2, generator=generator), y

    return draw
