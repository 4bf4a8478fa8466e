"""The scores of the foreign suite: a net against the trivial predictor, on held-out data.

0 is no better than trivial, and 1 is perfect. A score does not depend on how the training loss is
scaled. -inf means that the net's outputs are not finite.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lab.faults.foreign.data import Batch, mixing, noised


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
    return (mine - fixed) / (float(torch.tanh(x @ mixing(7, 10, 5)).amax(1).mean()) - fixed)


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


def as_teacher(net: nn.Module, batch: Batch) -> float:
    """Return the agreement with the teacher's class over its majority class."""
    student, teacher = net(batch[0])
    y = teacher.argmax(1)
    majority = float(y.bincount().max() / len(y))
    if not torch.isfinite(student).all():
        return -math.inf
    return (float((student.argmax(1) == y).float().mean()) - majority) / (1 - majority)


def noise_of_images_explained(net: nn.Module, batch: Batch) -> float:
    """Return 1 - MSE / variance of the predicted noise."""
    noisy, t, noise = noised(batch[0][:256])
    return _explained(net(noisy, t), noise)


def noise_of_points_explained(net: nn.Module, batch: Batch) -> float:
    """Return 1 - MSE / variance of the predicted noise."""
    noisy, t, noise = noised(batch[0])
    return _explained(net(torch.cat([noisy, t[:, None]], 1)), noise)
