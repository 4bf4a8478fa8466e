"""The scores of the fresh part: 0 is no better than the trivial predictor, and 1 is perfect."""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lab.faults.foreign.data import Batch
from lab.faults.foreign.fresh import losses
from lab.faults.foreign.fresh.sequences import Tagger


def _explained(out: Tensor, y: Tensor) -> float:
    return 1 - float(F.mse_loss(out, y) / F.mse_loss(y.mean(0, keepdim=True).expand_as(y), y))


def _over_majority(out: Tensor, hits: Tensor, y: Tensor) -> float:
    """Return the share of hits over that of the commonest class; -inf if `out` is not finite."""
    if not torch.isfinite(out).all():
        return -math.inf
    majority = float(y.flatten().bincount().max() / y.numel())
    return (float(hits.float().mean()) - majority) / (1 - majority)


def _gain(nll: float, trivial: float) -> float:
    """Return the gain in density over the trivial model."""
    return 1 - math.exp(min(nll - trivial, 50.0))


def at_each_time(net: nn.Module, batch: Batch) -> float:
    """Return the accuracy of logits (B, K, T) over the majority's."""
    x, y = batch
    out = net(x)
    return _over_majority(out, out.argmax(1) == y, y)


def hidden_patches(net: nn.Module, batch: Batch) -> float:
    """Return 1 - MSE / variance of masked patches."""
    x = batch[0]
    masked = torch.rand(len(x), 16) < 0.5
    return _explained(net(x, masked)[masked], F.unfold(x, 4, stride=4).transpose(1, 2)[masked])


def segmented(net: nn.Module, batch: Batch) -> float:
    """Return Dice's coefficient over that of a mask that is everywhere."""
    x, mask = batch
    out = net(x)
    if not torch.isfinite(out).all():
        return -math.inf
    found = (out > 0).float()
    dice = float(2 * (found * mask).sum() / (found.sum() + mask.sum()))
    trivial = float(2 * mask.sum() / (mask.numel() + mask.sum()))
    return (dice - trivial) / (1 - trivial)


def pixels(net: nn.Module, batch: Batch) -> float:
    """Return 1 - NLL / the NLL of each pixel's own mean."""
    (x,) = batch
    p = x.mean(0, keepdim=True).clamp(1e-4, 1 - 1e-4).expand_as(x)
    nll = F.binary_cross_entropy_with_logits(net(x), x)
    return 1 - float(nll / F.binary_cross_entropy(p, x))


def next_sample(net: nn.Module, batch: Batch) -> float:
    """Return 1 - MSE / variance of the mean of the next sample, after a start of 8."""
    (x,) = batch
    return _explained(net(x[:, :-1])[:, 0, 8:], x[:, 9:])


def explained(net: nn.Module, batch: Batch) -> float:
    """Return 1 - MSE / variance."""
    x, y = batch
    return _explained(net(x), y)


def level(net: nn.Module, batch: Batch) -> float:
    """Return 1 - MSE / variance of the expected level."""
    x, y = batch
    return _explained(torch.sigmoid(net(x)).sum(1), y.float())


def expectile(net: nn.Module, batch: Batch) -> float:
    """Return 1 - loss / the loss of the best constant."""
    y = batch[1]
    grid = torch.linspace(float(y.min()), float(y.max()), 200)[:, None, None]
    error = y - grid
    trivial = (torch.where(error > 0, 0.7, 0.3) * error.square()).mean((1, 2)).min()
    return 1 - float(losses.expectile(net, batch) / trivial)


def ranked(net: nn.Module, batch: Batch) -> float:
    """Return how much more pairs are in the right order than in the wrong one."""
    x, sign = batch
    gap = net(x[:, 0]) - net(x[:, 1])
    return float((gap * sign).sign().mean()) if torch.isfinite(gap).all() else -math.inf


@torch.enable_grad()
def denoised(net: nn.Module, batch: Batch) -> float:
    """Return 1 - MSE / variance of the noise that the energy's gradient tells."""
    noise = torch.randn_like(batch[0])
    x = (batch[0] + 0.3 * noise).requires_grad_()
    (slope,) = torch.autograd.grad(net(x).sum(), x)
    return _explained(0.3 * slope, noise)


def mixture(net: nn.Module, batch: Batch) -> float:
    """Return the gain over a normal distribution."""
    y = batch[1]
    trivial = float(y.var().log() / 2) + (1 + math.log(2 * math.pi)) / 2
    return _gain(float(losses.mixture_nll(net, batch)), trivial)


def concordance(net: nn.Module, batch: Batch) -> float:
    """Return how much more comparable pairs are in the right order of risk than in the wrong."""
    x, time, happened = batch
    risk = net(x)[:, 0]
    if not torch.isfinite(risk).all():
        return -math.inf
    known = (time[:, None] < time) & (happened[:, None] > 0)
    return float((risk[:, None] - risk).sign()[known].mean())


def in_context(net: nn.Module, batch: Batch) -> float:
    """Return 1 - loss / the loss of the best constant, which knows one word in five is right."""
    trivial = math.log(5) + 4 * math.log(5 / 4)
    return 1 - float(losses.negative_sampling(net, batch)) / trivial


def translated(net: nn.Module, batch: Batch) -> float:
    """Return the accuracy of tokens over the majority's."""
    x, y = batch
    out = net(x, y)
    return _over_majority(out, out.argmax(-1) == y, y)


def laplace(net: nn.Module, batch: Batch) -> float:
    """Return the gain over a Laplace distribution of the best constants."""
    y = batch[1]
    trivial = float((y - y.median()).abs().mean().log()) + 1 + math.log(2)
    return _gain(float(losses.laplace_nll(net, batch)), trivial)


def partners(net: nn.Module, batch: Batch) -> float:
    """Return how much more true pairs beat false ones than the reverse."""
    (x,) = batch
    gap = net(x) - net(torch.cat([x[:, :6], x[:, 6:].roll(1, 0)], 1))
    return float(gap.sign().mean()) if torch.isfinite(gap).all() else -math.inf


def autoregressive(net: nn.Module, batch: Batch) -> float:
    """Return the gain over independent normal distributions."""
    (x,) = batch
    trivial = float((x.var(0).log() / 2).sum()) + 6 * (1 + math.log(2 * math.pi)) / 2
    return _gain(float(losses.autoregressive_nll(net, batch)), trivial)


def nodes(net: nn.Module, batch: Batch) -> float:
    """Return the accuracy of all nodes over the majority's."""
    x, linked, y = batch
    out = net(x, linked)
    return _over_majority(out, out.argmax(-1) == y, y)


def few_shot(net: nn.Module, batch: Batch) -> float:
    """Return 1 - MSE / variance of the answers."""
    examples, query, y = batch
    return _explained(net(examples, query), y)


def tags(net: nn.Module, batch: Batch) -> float:
    """Return the accuracy of the most likely tags over the majority's."""
    x, y = batch
    out = net(x)
    return _over_majority(out, cast(Tagger, net).best(out) == y, y)
