"""The losses of the foreign suite: each takes a net and a batch, and returns a scalar."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lab.faults.foreign.data import Batch, noised
from lab.faults.foreign.nets import BayesLinear

Loss: TypeAlias = Callable[[nn.Module, Batch], Tensor]


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
    losses: Tensor = error + F.softplus(-2 * error) - math.log(2.0)
    return losses.mean()


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
    losses: Tensor = ((out - x) ** 2).sum(1) / 2 / 0.1 + kl
    return losses.mean()


def sparse(net: nn.Module, batch: Batch) -> Tensor:
    """Return the MSE of the reconstruction plus an L1 term of the code."""
    out, code = net(batch[0])
    penalty: Tensor = 1e-3 * code.abs().sum(1).mean()
    return F.mse_loss(out, batch[0]) + penalty


def top_k(net: nn.Module, batch: Batch) -> Tensor:
    """Return the MSE of the reconstruction alone."""
    return F.mse_loss(net(batch[0])[0], batch[0])


def bayes_by_backprop(net: nn.Module, batch: Batch) -> Tensor:
    """Return the error plus the divergence of all weights, shared among 5000 examples."""
    x, y = batch
    layers = [layer for layer in net.modules() if isinstance(layer, BayesLinear)]
    divergence = torch.stack([layer.divergence() for layer in layers]).sum()
    return F.mse_loss(net(x), y) / 2 / 0.05 + divergence / 5000


def noise_of_images(net: nn.Module, batch: Batch) -> Tensor:
    """Return the MSE of the noise that was added to images: DDPM's simple loss."""
    noisy, t, noise = noised(batch[0])
    return F.mse_loss(net(noisy, t), noise)


def noise_of_points(net: nn.Module, batch: Batch) -> Tensor:
    """Return the same loss for points (B, 2); the noise level is a third input."""
    noisy, t, noise = noised(batch[0])
    return F.mse_loss(net(torch.cat([noisy, t[:, None]], 1)), noise)


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
    log_p = F.log_softmax(net(x), 1)
    # A diverged policy is not finite; it draws arms at random.
    arm = torch.multinomial(log_p.detach().exp().nan_to_num(0.2) + 1e-8, 1)
    gained = rewards.gather(1, arm)
    entropy = -(log_p.exp() * log_p).sum(1).mean()
    return -((gained - gained.mean()) * log_p.gather(1, arm)).mean() - 0.01 * entropy


def two_tasks(net: nn.Module, batch: Batch) -> Tensor:
    """Return cross-entropy of a class plus the MSE of a value."""
    x, value, y = batch
    logits, out = net(x)
    return F.cross_entropy(logits, y) + F.mse_loss(out, value)


def physics(net: nn.Module, batch: Batch) -> Tensor:
    """Return the residual of u'' = -pi^2 sin(pi x) with u(-1) = u(1) = 0."""
    x = batch[0].requires_grad_()
    u = net(x)
    (du,) = torch.autograd.grad(u.sum(), x, create_graph=True)
    (ddu,) = torch.autograd.grad(du.sum(), x, create_graph=True)
    residual = ddu + math.pi**2 * torch.sin(math.pi * x)
    ends = net(torch.tensor([[-1.0], [1.0]]))
    loss: Tensor = (residual**2).mean() / 10 + 10 * (ends**2).mean()
    return loss
