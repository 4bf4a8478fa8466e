"""The losses of the fresh part: each takes a net and a batch, and returns a scalar."""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lab.faults.foreign.data import Batch
from lab.faults.foreign.fresh.nets import GaussianPolicy
from lab.faults.foreign.fresh.sequences import Tagger


def poly(net: nn.Module, batch: Batch) -> Tensor:
    """Return the Poly-1 loss: cross-entropy plus 1 - p of the right class."""
    x, y = batch
    nll = F.cross_entropy(net(x), y, reduction="none")
    return (nll + 1 - (-nll).exp()).mean()


def soft_cross_entropy(net: nn.Module, batch: Batch) -> Tensor:
    """Return the cross-entropy of mixed labels (B, K)."""
    x, soft, _ = batch
    return F.cross_entropy(net(x), soft)


def generalized(net: nn.Module, batch: Batch) -> Tensor:
    """Return the generalized cross-entropy with q = 0.5, which wrong labels hurt less."""
    x, y = batch
    p = net(x).softmax(1).gather(1, y[:, None])
    loss: Tensor = ((1 - p.clamp_min(1e-9) ** 0.5) / 0.5).mean()
    return loss


def arc_face(net: nn.Module, batch: Batch) -> Tensor:
    """Return ArcFace's loss of cosines: a margin of 0.2 rad and a scale of 16."""
    x, y = batch
    angle = net(x).clamp(-1 + 1e-6, 1 - 1e-6).acos()
    margin = 0.2 * F.one_hot(y, angle.shape[1])
    return F.cross_entropy(16 * (angle + margin).cos(), y)


def squared_hinge(net: nn.Module, batch: Batch) -> Tensor:
    """Return the squared hinge loss of one class against the rest."""
    x, y = batch
    out = net(x)
    sign = 2.0 * F.one_hot(y, out.shape[1]) - 1
    return F.relu(1 - sign * out).square().sum(1).mean()


def at_each_time(net: nn.Module, batch: Batch) -> Tensor:
    """Return the cross-entropy of logits (B, K, T), with weights for the classes."""
    x, y = batch
    return F.cross_entropy(net(x), y, weight=torch.tensor([0.5, 1.0, 2.0]))


def hidden_patches(net: nn.Module, batch: Batch) -> Tensor:
    """Return the MSE of the patches that were masked: half of them."""
    x = batch[0]
    masked = torch.rand(len(x), 16) < 0.5
    error = (net(x, masked) - F.unfold(x, 4, stride=4).transpose(1, 2)).square().mean(-1)
    loss: Tensor = error[masked].mean()
    return loss


def tversky(net: nn.Module, batch: Batch) -> Tensor:
    """Return the Tversky loss: misses cost more than false pixels."""
    x, mask = batch
    p = torch.sigmoid(net(x))
    hits, false, missed = (p * mask).sum(), (p * (1 - mask)).sum(), ((1 - p) * mask).sum()
    return 1 - (hits + 1) / (hits + 0.3 * false + 0.7 * missed + 1)


def pixels(net: nn.Module, batch: Batch) -> Tensor:
    """Return the NLL of an image in nats, summed over its pixels."""
    (x,) = batch
    return F.binary_cross_entropy_with_logits(net(x), x, reduction="sum") / len(x)


def vector_quantization(net: nn.Module, batch: Batch) -> Tensor:
    """Return the VQ-VAE's loss: reconstruction, codebook and commitment."""
    (x,) = batch
    out, code, found = net(x)
    codebook = F.mse_loss(found, code.detach())
    return F.mse_loss(out, x) + codebook + 0.25 * F.mse_loss(code, found.detach())


def against_rest(net: nn.Module, batch: Batch) -> Tensor:
    """Return the binary cross-entropies of each class against the rest, summed over classes."""
    x, y = batch
    out = net(x)
    total: Tensor = F.multilabel_soft_margin_loss(out, F.one_hot(y, out.shape[1])) * out.shape[1]
    return total


def gradient_penalty(net: nn.Module, batch: Batch) -> Tensor:
    """Return cross-entropy plus a penalty on its gradient by the input (double backpropagation)."""
    x = batch[0].detach().requires_grad_()
    loss = F.cross_entropy(net(x), batch[1])
    (slope,) = torch.autograd.grad(loss * len(x), x, create_graph=True)
    return loss + 0.01 * slope.square().sum(1).mean()


def logistic_mixture(net: nn.Module, batch: Batch) -> Tensor:
    """Return the NLL of each next sample under a logistic distribution."""
    (x,) = batch
    mean, log_scale = net(x[:, :-1]).unbind(1)
    z = (x[:, 1:] - mean) / log_scale.exp()
    loss: Tensor = (z.abs() + log_scale + 2 * F.softplus(-z.abs())).mean()
    return loss


def temperature(net: nn.Module, batch: Batch) -> Tensor:
    """Return LogitNorm's loss: cross-entropy of normalized logits at temperature 0.2."""
    x, y = batch
    return F.cross_entropy(F.normalize(net(x)) / 0.2, y)


def absolute(net: nn.Module, batch: Batch) -> Tensor:
    """Return the mean absolute error."""
    x, y = batch
    return F.l1_loss(net(x), y)


def relative(net: nn.Module, batch: Batch) -> Tensor:
    """Return the error's norm over the target's norm."""
    x, y = batch
    losses: Tensor = (net(x) - y).flatten(1).norm(dim=1) / y.flatten(1).norm(dim=1)
    return losses.mean()


def relative_square(net: nn.Module, batch: Batch) -> Tensor:
    """Return the squared relative difference of positive values."""
    x, y = batch
    out = net(x)
    loss: Tensor = ((out - y).square() / (out + y + 0.1)).mean()
    return loss


def cumulative(net: nn.Module, batch: Batch) -> Tensor:
    """Return the summed binary cross-entropies of "more than level k"."""
    x, y = batch
    logits = net(x)
    more = (y[:, None] > torch.arange(logits.shape[1])).float()
    return F.binary_cross_entropy_with_logits(logits, more, reduction="none").sum(1).mean()


def expectile(net: nn.Module, batch: Batch) -> Tensor:
    """Return the loss of the expectile 0.7: squared errors, weighted by their sign."""
    x, y = batch
    error = y - net(x)
    loss: Tensor = (torch.where(error > 0, 0.7, 0.3) * error.square()).mean()
    return loss


def cauchy(net: nn.Module, batch: Batch) -> Tensor:
    """Return the Cauchy loss, which outliers hardly touch."""
    x, y = batch
    return torch.log1p((net(x) - y).square()).mean()


def charbonnier(net: nn.Module, batch: Batch) -> Tensor:
    """Return the Charbonnier loss."""
    x, y = batch
    losses: Tensor = ((net(x) - y).square() + 1e-4).sqrt()
    return losses.mean()


def ranking(net: nn.Module, batch: Batch) -> Tensor:
    """Return the margin ranking loss of two items' scores."""
    x, sign = batch
    return F.margin_ranking_loss(net(x[:, 0]), net(x[:, 1]), sign, margin=1.0)


def score_matching(net: nn.Module, batch: Batch) -> Tensor:
    """Return the denoising score matching loss: noise of 0.3 against the energy's gradient."""
    noise = torch.randn_like(batch[0])
    x = (batch[0] + 0.3 * noise).requires_grad_()
    (slope,) = torch.autograd.grad(net(x).sum(), x, create_graph=True)
    return (0.3 * slope - noise).square().sum(1).mean()


def mixture_nll(net: nn.Module, batch: Batch) -> Tensor:
    """Return the NLL under a mixture of normal distributions."""
    x, y = batch
    logits, mean, log_std = net(x).chunk(3, 1)
    z = (y - mean) / log_std.exp()
    log_p = -(z**2) / 2 - log_std - math.log(2 * math.pi) / 2
    return -torch.logsumexp(logits.log_softmax(1) + log_p, 1).mean()


def cox(net: nn.Module, batch: Batch) -> Tensor:
    """Return Cox's negative partial log-likelihood for each event."""
    x, time, happened = batch
    order = time.argsort(descending=True)
    risk, events = net(x)[order, 0], happened[order]
    total: Tensor = ((risk - torch.logcumsumexp(risk, 0)) * events).sum()
    return -total / events.sum().clamp_min(1)


def negative_sampling(net: nn.Module, batch: Batch) -> Tensor:
    """Return word2vec's loss of one word of the context and four of any."""
    out = net(batch[0])
    losses: Tensor = -F.logsigmoid(out[:, 0]) - F.logsigmoid(-out[:, 1:]).sum(1)
    return losses.mean()


def teacher_forcing(net: nn.Module, batch: Batch) -> Tensor:
    """Return the cross-entropy of each target token."""
    x, y = batch
    return F.cross_entropy(net(x, y).flatten(0, 1), y.flatten())


def laplace_nll(net: nn.Module, batch: Batch) -> Tensor:
    """Return the NLL of a Laplace distribution with a predicted scale."""
    x, y = batch
    mean, log_scale = net(x).chunk(2, 1)
    losses: Tensor = (y - mean).abs() / log_scale.exp() + log_scale + math.log(2)
    return losses.mean()


def contrastive_estimation(net: nn.Module, batch: Batch) -> Tensor:
    """Return the logistic loss of true pairs against pairs of other partners."""
    (x,) = batch
    other = torch.cat([x[:, :6], x[:, 6:].roll(1, 0)], 1)
    true, false = net(x), net(other)
    return F.softplus(-true).mean() + F.softplus(false).mean()


def autoregressive_nll(net: nn.Module, batch: Batch) -> Tensor:
    """Return the NLL in nats of points under normal distributions, one number after another."""
    (x,) = batch
    mean, log_std = net(x).chunk(2, 1)
    nll = ((x - mean) / log_std.exp()) ** 2 / 2 + log_std + math.log(2 * math.pi) / 2
    loss: Tensor = nll.sum(1).mean()
    return loss


def policy_gradient(net: nn.Module, batch: Batch) -> Tensor:
    """Return the clipped surrogate of PPO in its first epoch, for actions drawn now."""
    x, best = batch
    log_std = cast(GaussianPolicy, net).log_std
    mean = net(x)
    action = (mean + log_std.exp() * torch.randn_like(mean)).detach()
    reward = -(action - best).square().sum(1)
    advantage = (reward - reward.mean()) / (reward.std() + 1e-6)
    log_p = (-(((action - mean) / log_std.exp()) ** 2) / 2 - log_std).sum(1)
    ratio = (log_p - log_p.detach()).exp()
    return -torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage).mean()


def node_classes(net: nn.Module, batch: Batch) -> Tensor:
    """Return the cross-entropy of all nodes."""
    x, linked, y = batch
    return F.nll_loss(net(x, linked).log_softmax(-1).flatten(0, 1), y.flatten())


def few_shot(net: nn.Module, batch: Batch) -> Tensor:
    """Return the Huber loss of the answer to a query."""
    examples, query, y = batch
    return F.smooth_l1_loss(net(examples, query), y)


def random_field(net: nn.Module, batch: Batch) -> Tensor:
    """Return the NLL of a linear-chain CRF."""
    x, y = batch
    return -cast(Tagger, net).likelihood(net(x), y).mean()
