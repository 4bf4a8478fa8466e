"""The tasks of the foreign suite: made-up data or small CIFAR-10 images, a loss, and a score.

A score compares the net with the trivial predictor on data that it was not trained on: 0 is no
better than trivial, 1 is perfect. It does not depend on how the training loss is scaled. This file
knows nothing of architectures, faults or verdicts.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

Batch: TypeAlias = tuple[Tensor, ...]
Draw: TypeAlias = Callable[[Generator, int, bool], Batch]  # generator, examples, held out
Loss: TypeAlias = Callable[[nn.Module, Batch], Tensor]
Score: TypeAlias = Callable[[nn.Module, Batch], float]
FOLDER = Path("data")
HELD_OUT = 1000  # examples of a score


@dataclass(frozen=True)
class Task:
    """Data, loss and score. The first tensor of a batch is the net's input."""

    draw: Draw
    loss: Loss
    score: Score
    batch_size: int = 64


@dataclass(frozen=True)
class Batches:
    """Batches of a task without end, the same ones each time.

    `blind` gives each target another example's input. `scale` multiplies the inputs.
    """

    task: Task
    seed: int
    blind: bool = False
    scale: float = 1.0

    def __iter__(self) -> Iterator[Batch]:
        """Draw batches."""
        generator = torch.Generator().manual_seed(self.seed)
        while True:
            first, *rest = self.task.draw(generator, self.task.batch_size, False)
            first = first.roll(1, 0) if self.blind else first
            yield (first if self.scale == 1 else self.scale * first, *rest)


@torch.no_grad()
def held_out_score(task: Task, net: nn.Module, seed: int, scale: float = 1.0) -> float:
    """Return the net's score on held-out data, with batch norms in training mode."""
    net.eval()
    for module in net.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.train()
    first, *rest = task.draw(torch.Generator().manual_seed(seed + 10**6), HELD_OUT, True)
    score = task.score(net, (first if scale == 1 else scale * first, *rest))
    return score if math.isfinite(score) else -math.inf


# Data


@functools.cache
def _pictures() -> tuple[Tensor, Tensor]:
    """Return CIFAR-10's first 12000 images, averaged to 16x16 and standardized, and labels."""
    rows = np.load(FOLDER / "cifar10.npy", mmap_mode="r")[:12_000]
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


def _mixing(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def teacher_classes(inputs: int, classes: int, seed: int) -> Draw:
    """Return points x (B, inputs) with the class that a random net of two layers gives them."""
    first, second = _mixing(seed, inputs, 32) / math.sqrt(inputs), _mixing(seed + 1, 32, classes)

    def draw(generator: Generator, n: int, held_out: bool) -> Batch:
        x = torch.randn(n, inputs, generator=generator)
        return x, (torch.tanh(x @ first) @ second).argmax(1)

    return draw


def teacher_values(inputs: int, outputs: int, seed: int, noise: float = 0.1) -> Draw:
    """Return points x (B, inputs) and noisy values (B, outputs) of variance 1 of a random net."""
    first, second = _mixing(seed, inputs, 16) / math.sqrt(inputs), _mixing(seed + 1, 16, outputs)

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
    return x, (x @ _mixing(3, 24, 12) / math.sqrt(24) > 1.64).float()


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
    logits = 2.5 * _mixing(seed, tokens, tokens, 1) + 1.5 * _mixing(seed + 1, tokens, 1, tokens)
    table = (logits.transpose(1, 2) + 2 * _mixing(seed + 2, tokens, tokens, tokens) / 2).softmax(-1)

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
    x = torch.randn(n, 8, generator=generator)
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
    users, items = _mixing(5, 60, 3), _mixing(6, 40, 3)
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
    mean = torch.tanh(x @ _mixing(7, 10, 5))
    return x, mean + 0.3 * torch.randn(n, 5, generator=generator)


def low_dimensional(inputs: int, latent: int, seed: int) -> Draw:
    """Return points (B, inputs) near a curved surface of few dimensions."""
    first, second = _mixing(seed, latent, 24), _mixing(seed + 1, 24, inputs) / math.sqrt(24)

    def draw(generator: Generator, n: int, held_out: bool) -> Batch:
        z = torch.randn(n, latent, generator=generator)
        x = torch.tanh(z @ first / math.sqrt(latent)) @ second * 1.6
        return (x + 0.05 * torch.randn(n, inputs, generator=generator),)

    return draw


# Scores


def accuracy(net: nn.Module, batch: Batch) -> float:
    """Return (accuracy - majority's) / (1 - majority's)."""
    x, y = batch[0], batch[-1]
    out = net(x)
    logits = out[0] if isinstance(out, tuple) else out
    if not torch.isfinite(logits).all():
        return -math.inf
    majority = float(y.bincount().max() / len(y))
    return (float((logits.argmax(1) == y).float().mean()) - majority) / (1 - majority)


def likelihood(net: nn.Module, batch: Batch) -> float:
    """Return 1 - NLL / the marginal's NLL, of classes or, for logits (B, K), of labels (B, K)."""
    x, y = batch[0], batch[-1]
    logits = net(x)
    if y.is_floating_point():
        p = y.mean(0, keepdim=True).clamp(1e-4, 1 - 1e-4)
        trivial = F.binary_cross_entropy(p.expand_as(y), y)
        return 1 - float(F.binary_cross_entropy_with_logits(logits.reshape(y.shape), y) / trivial)
    p = y.bincount(minlength=logits.shape[1]).float() / len(y)
    return 1 - float(F.cross_entropy(logits, y) / -(p * p.clamp_min(1e-9).log()).sum())


def explained(net: nn.Module, batch: Batch) -> float:
    """Return 1 - MSE / variance."""
    x, y = batch[0], batch[-1]
    return _explained(net(x).reshape(y.shape), y)


def _explained(out: Tensor, y: Tensor) -> float:
    return 1 - float(F.mse_loss(out, y) / F.mse_loss(y.mean(0, keepdim=True).expand_as(y), y))


def median(net: nn.Module, batch: Batch) -> float:
    """Return 1 - MSE / variance of the second output, the median."""
    x, y = batch
    return _explained(net(x)[:, 1:2], y)


def reconstructed(net: nn.Module, batch: Batch) -> float:
    """Return 1 - MSE / variance of the input, which the net's first output reconstructs."""
    x = batch[0]
    out = net(x)
    return _explained((out[0] if isinstance(out, tuple) else out).reshape(x.shape), x)


def predicted(net: nn.Module, batch: Batch) -> float:
    """Return 1 - NLL / the marginal's NLL of the next token."""
    (x,) = batch
    logits, y = net(x[:, :-1]).flatten(0, 1), x[:, 1:].flatten()
    p = y.bincount(minlength=logits.shape[1]).float() / len(y)
    return 1 - float(F.cross_entropy(logits, y) / -(p * p.clamp_min(1e-9).log()).sum())


def told_apart(net: nn.Module, batch: Batch) -> float:
    """Return how often an image's two views are each other's nearest among 100 pairs."""
    first, second, _ = batch
    a, b = F.normalize(net(first[:100])), F.normalize(net(second[:100]))
    if not (torch.isfinite(a).all() and torch.isfinite(b).all()):
        return -math.inf
    hits = float(((a @ b.T).argmax(1) == torch.arange(100)).float().mean())
    return (hits - 0.01) / 0.99


def nearest_class(net: nn.Module, batch: Batch) -> float:
    """Return the accuracy, over chance, of the nearest of other embeddings (B, D)."""
    x, y = batch[0], batch[-1]
    e = F.normalize(net(x))
    if not torch.isfinite(e).all():
        return -math.inf
    similar = e @ e.T - 3 * torch.eye(len(e))
    votes = F.one_hot(y)[similar.topk(15, 1).indices].sum(1)
    majority = float(y.bincount().max() / len(y))
    return (float((votes.argmax(1) == y).float().mean()) - majority) / (1 - majority)


def spelling(net: nn.Module, batch: Batch) -> float:
    """Return the share of 4-token words whose greedy CTC decoding is right, token by token."""
    x, y = batch
    best = net(x).argmax(-1).T
    hits = 0
    for row, word in zip(best.tolist(), y.tolist(), strict=True):
        read = [t for t, before in zip(row, [0, *row], strict=False) if t and t != before]
        hits += sum(a == b for a, b in zip(read, word, strict=False)) if len(read) == 4 else 0
    return hits / y.numel()


def reward(net: nn.Module, batch: Batch) -> float:
    """Return (reward - best fixed arm's) / (best possible - best fixed arm's)."""
    x, rewards = batch
    out = net(x)
    if not torch.isfinite(out).all():
        return -math.inf
    mine = float(rewards.gather(1, out.argmax(1, keepdim=True)).mean())
    fixed = float(rewards.mean(0).max())
    return (mine - fixed) / (float(torch.tanh(x @ _mixing(7, 10, 5)).amax(1).mean()) - fixed)


def gaussian(net: nn.Module, batch: Batch) -> float:
    """Return 1 - exp(nats of the marginal's NLL lost): the gain in density over the marginal."""
    x, y = batch
    mean, log_variance = net(x).chunk(2, 1)
    nll = F.gaussian_nll_loss(mean, y, log_variance.exp())
    return _gain(float(nll), float((y.var(0).log().mean() + 1) / 2))


def flow_density(net: nn.Module, batch: Batch) -> float:
    """Return the same gain of a density model over the best normal distribution."""
    (x,) = batch
    covariance = torch.cov(x.T)
    trivial = 0.5 * float(torch.logdet(covariance)) + math.log(2 * math.pi) + 1
    return _gain(float(net(x).mean()), trivial)


def poisson(net: nn.Module, batch: Batch) -> float:
    """Return the same gain of log-rates over the mean rate."""
    x, y = batch
    nll = float(F.poisson_nll_loss(net(x), y))
    return _gain(nll, float(F.poisson_nll_loss(y.mean().log().expand_as(y), y)))


def _gain(nll: float, trivial: float) -> float:
    return 1 - math.exp(min(nll - trivial, 50.0))


def ringed(net: nn.Module, batch: Batch) -> float:
    """Return how much of the mean image's shape the made images' mean has."""
    (x,) = batch
    return _explained_mean(net(500).mean(0), x.mean(0))


def _explained_mean(made: Tensor, real: Tensor) -> float:
    return 1 - float(F.mse_loss(made, real) / F.mse_loss(real.mean().expand_as(real), real))


def poisson_equation(net: nn.Module, batch: Batch) -> float:
    """Return 1 - MSE / variance against sin(pi x), the solution of u'' = -pi^2 sin(pi x)."""
    (x,) = batch
    return _explained(net(x), torch.sin(math.pi * x))


# Losses


def cross_entropy(scale: float = 1.0, reduction: str = "mean", smoothing: float = 0.0) -> Loss:
    """Return cross-entropy, scaled, summed or smoothed."""

    def loss(net: nn.Module, batch: Batch) -> Tensor:
        x, y = batch
        return scale * F.cross_entropy(net(x), y, reduction=reduction, label_smoothing=smoothing)

    return loss


def with_l2(net: nn.Module, batch: Batch) -> Tensor:
    """Return cross-entropy plus a large l2 term over all weights."""
    x, y = batch
    l2 = torch.stack([(p**2).sum() for p in net.parameters() if p.ndim > 1]).sum()
    return F.cross_entropy(net(x), y) + 0.01 * l2


def with_auxiliary(net: nn.Module, batch: Batch) -> Tensor:
    """Return cross-entropy of two heads."""
    x, y = batch
    main, auxiliary = net(x)
    return F.cross_entropy(main, y) + 0.3 * F.cross_entropy(auxiliary, y)


def focal(net: nn.Module, batch: Batch) -> Tensor:
    """Return the focal loss with gamma 2."""
    x, y = batch
    nll = F.cross_entropy(net(x), y, reduction="none")
    return ((1 - (-nll).exp()) ** 2 * nll).mean()


def multi_margin(net: nn.Module, batch: Batch) -> Tensor:
    """Return the hinge loss of several classes."""
    x, y = batch
    return F.multi_margin_loss(net(x), y)


def one_hot(net: nn.Module, batch: Batch) -> Tensor:
    """Return the MSE against one-hot classes."""
    x, y = batch
    out = net(x)
    return F.mse_loss(out, F.one_hot(y, out.shape[1]).float())


def binary(net: nn.Module, batch: Batch) -> Tensor:
    """Return binary cross-entropy of labels of any shape."""
    x, y = batch
    return F.binary_cross_entropy_with_logits(net(x).reshape(y.shape), y)


def mse(net: nn.Module, batch: Batch) -> Tensor:
    """Return the mean squared error."""
    x, y = batch
    return F.mse_loss(net(x), y)


def huber(net: nn.Module, batch: Batch) -> Tensor:
    """Return the Huber loss."""
    x, y = batch
    return F.huber_loss(net(x), y, delta=0.5)


def log_cosh(net: nn.Module, batch: Batch) -> Tensor:
    """Return the log-cosh loss, written out in arithmetic."""
    x, y = batch
    error = net(x) - y
    return (error + F.softplus(-2 * error) - math.log(2.0)).mean()


def pinball(net: nn.Module, batch: Batch) -> Tensor:
    """Return the loss of the quantiles 0.1, 0.5 and 0.9."""
    x, y = batch
    error = y - net(x)
    q = torch.tensor([0.1, 0.5, 0.9])
    return torch.maximum(q * error, (q - 1) * error).mean()


def gaussian_nll(net: nn.Module, batch: Batch) -> Tensor:
    """Return the normal NLL without its constant: negative once the noise is known."""
    x, y = batch
    mean, log_variance = net(x).chunk(2, 1)
    return F.gaussian_nll_loss(mean, y, log_variance.exp())


def poisson_nll(net: nn.Module, batch: Batch) -> Tensor:
    """Return the Poisson NLL without its constant."""
    x, y = batch
    return F.poisson_nll_loss(net(x), y)


def distillation(net: nn.Module, batch: Batch) -> Tensor:
    """Return the KL divergence from the teacher, at temperature 2."""
    student, teacher = net(batch[0])
    return 4 * F.kl_div(
        F.log_softmax(student / 2, 1), (teacher / 2).softmax(1), reduction="batchmean"
    )


def as_teacher(net: nn.Module, batch: Batch) -> float:
    """Return the agreement with the teacher's class over its majority class."""
    student, teacher = net(batch[0])
    y = teacher.argmax(1)
    majority = float(y.bincount().max() / len(y))
    if not torch.isfinite(student).all():
        return -math.inf
    return (float((student.argmax(1) == y).float().mean()) - majority) / (1 - majority)


def nt_xent(net: nn.Module, batch: Batch) -> Tensor:
    """Return SimCLR's loss at temperature 0.3; both views go through the net at once."""
    first, second, _ = batch
    e = F.normalize(net(torch.cat([first, second])))
    n = len(first)
    similar = (e @ e.T / 0.3).masked_fill(torch.eye(2 * n, dtype=torch.bool), -1e9)
    return F.cross_entropy(similar, torch.arange(2 * n).roll(n))


def cosine_embedding(net: nn.Module, batch: Batch) -> Tensor:
    """Return the cosine embedding loss of images and their neighbours in the batch."""
    first, second, _ = batch
    half = len(first) // 2
    partner = torch.cat([second[:half], second[half:].roll(1, 0)])
    target = torch.cat([torch.ones(half), -torch.ones(len(first) - half)])
    return F.cosine_embedding_loss(net(first), net(partner), target, margin=0.2)


def triplet(net: nn.Module, batch: Batch) -> Tensor:
    """Return the triplet loss: another point of the class, and the next point of another class."""
    x, y = batch
    e = net(x)
    same = (y[:, None] == y) & ~torch.eye(len(y), dtype=torch.bool)
    positive, negative = same.float().argmax(1), (y[:, None] != y).float().argmax(1)
    usable = same.any(1)
    return F.triplet_margin_loss(e[usable], e[positive[usable]], e[negative[usable]])


def ctc(net: nn.Module, batch: Batch) -> Tensor:
    """Return the CTC loss."""
    x, y = batch
    out = net(x)
    n = len(y)
    return F.ctc_loss(out, y, torch.full((n,), len(out)), torch.full((n,), y.shape[1]))


def next_token(net: nn.Module, batch: Batch) -> Tensor:
    """Return the cross-entropy of each next token."""
    (x,) = batch
    return F.cross_entropy(net(x[:, :-1]).flatten(0, 1), x[:, 1:].flatten())


def autoencoding(net: nn.Module, batch: Batch) -> Tensor:
    """Return the MSE of the reconstruction."""
    x = batch[0]
    return F.mse_loss(net(x).reshape(x.shape), x)


def denoising(net: nn.Module, batch: Batch) -> Tensor:
    """Return the L1 error of a reconstruction from a noisy input."""
    x = batch[0]
    return F.l1_loss(net(x + 0.5 * torch.randn_like(x)).reshape(x.shape), x)


def elbo(net: nn.Module, batch: Batch) -> Tensor:
    """Return the VAE's loss: summed squared error plus KL divergence."""
    (x,) = batch
    out, mean, log_variance = net(x)
    kl = -0.5 * (1 + log_variance - mean**2 - log_variance.exp()).sum(1)
    return (((out - x) ** 2).sum(1) / 2 / 0.1 + kl).mean()


def sparse(net: nn.Module, batch: Batch) -> Tensor:
    """Return the MSE of the reconstruction plus an L1 term of the code."""
    out, code = net(batch[0])
    return F.mse_loss(out, batch[0]) + 1e-3 * code.abs().sum(1).mean()


def top_k(net: nn.Module, batch: Batch) -> Tensor:
    """Return the MSE of the reconstruction alone."""
    return F.mse_loss(net(batch[0])[0], batch[0])


def bayes_by_backprop(net: nn.Module, batch: Batch) -> Tensor:
    """Return the error plus the divergence of all weights, shared among 5000 examples."""
    x, y = batch
    divergence = torch.stack([m.divergence() for m in net if hasattr(m, "divergence")]).sum()  # type: ignore[attr-defined, operator, unused-ignore]
    return F.mse_loss(net(x), y) / 2 / 0.05 + divergence / 5000


def _noised(x: Tensor) -> Batch:
    t = torch.rand(len(x))
    signal = torch.cos(t * math.pi / 2).reshape(-1, *[1] * (x.ndim - 1))
    noise = torch.randn_like(x)
    return signal * x + (1 - signal**2).sqrt() * noise, t, noise


def noise_of_images(net: nn.Module, batch: Batch) -> Tensor:
    """Return the MSE of the noise that was added to images: DDPM's simple loss."""
    noisy, t, noise = _noised(batch[0])
    return F.mse_loss(net(noisy, t), noise)


def noise_of_images_explained(net: nn.Module, batch: Batch) -> float:
    """Return 1 - MSE / variance of the predicted noise."""
    noisy, t, noise = _noised(batch[0][:256])
    return _explained(net(noisy, t), noise)


def noise_of_points(net: nn.Module, batch: Batch) -> Tensor:
    """Return the same loss for points (B, 2); the noise level is a third input."""
    noisy, t, noise = _noised(batch[0])
    return F.mse_loss(net(torch.cat([noisy, t[:, None]], 1)), noise)


def noise_of_points_explained(net: nn.Module, batch: Batch) -> float:
    """Return 1 - MSE / variance of the predicted noise."""
    noisy, t, noise = _noised(batch[0])
    return _explained(net(torch.cat([noisy, t[:, None]], 1)), noise)


def flow_nll(net: nn.Module, batch: Batch) -> Tensor:
    """Return the mean NLL of a density model."""
    nll: Tensor = net(batch[0])
    return nll.mean()


def q_learning(net: nn.Module, batch: Batch) -> Tensor:
    """Return the Huber loss of the value of one arm chosen at random."""
    x, rewards = batch
    arm = torch.randint(0, rewards.shape[1], (len(x), 1))
    return F.smooth_l1_loss(net(x).gather(1, arm), rewards.gather(1, arm))


def reinforce(net: nn.Module, batch: Batch) -> Tensor:
    """Return REINFORCE's loss with the batch's mean reward as baseline, and an entropy bonus."""
    x, rewards = batch
    policy = torch.distributions.Categorical(logits=net(x), validate_args=False)
    arm = torch.multinomial(policy.probs.detach().nan_to_num(0.2) + 1e-8, 1)
    gained = rewards.gather(1, arm)[:, 0]
    log_p = F.log_softmax(net(x), 1).gather(1, arm)[:, 0]
    return -((gained - gained.mean()) * log_p).mean() - 0.01 * policy.entropy().mean()


def two_tasks(net: nn.Module, batch: Batch) -> Tensor:
    """Return cross-entropy of a class plus the MSE of a value."""
    x, value, y = batch
    logits, out = net(x)
    return F.cross_entropy(logits, y) + F.mse_loss(out, value)


def collocation(generator: Generator, n: int, held_out: bool) -> Batch:
    """Draw points (B, 1) in -1 to 1."""
    return (2 * torch.rand(n, 1, generator=generator) - 1,)


def physics(net: nn.Module, batch: Batch) -> Tensor:
    """Return the residual of u'' = -pi^2 sin(pi x) with u(-1) = u(1) = 0."""
    x = batch[0].requires_grad_()
    u = net(x)
    (du,) = torch.autograd.grad(u.sum(), x, create_graph=True)
    (ddu,) = torch.autograd.grad(du.sum(), x, create_graph=True)
    residual = ddu + math.pi**2 * torch.sin(math.pi * x)
    ends = net(torch.tensor([[-1.0], [1.0]]))
    return (residual**2).mean() / 10 + 10 * (ends**2).mean()
