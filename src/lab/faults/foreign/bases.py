"""The bases of the foreign suite's tuning part and held-out part."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from lab.faults.foreign import data, losses, nets, scores
from lab.faults.foreign import image_nets as images
from lab.faults.foreign.base import Base
from lab.faults.foreign.data import Batch
from lab.faults.foreign.faults import (
    BLIND,
    BRIGHT,
    DEAD,
    HUGE,
    LARGE,
    PUSHED,
    SIGMOID,
    SLOW,
    SMALL,
    STEEP,
    STUCK,
    TINY,
    ZERO,
    fast,
)
from lab.faults.foreign.losses import Loss
from lab.faults.foreign.optimizers import adam, adamw, gan_adam, lbfgs, rmsprop, sgd
from lab.faults.foreign.tasks import Task


def _images(loss: Loss = losses.cross_entropy(), n: int = 64) -> Task:  # noqa: B008
    return Task(data.pictures, loss, scores.accuracy, n)


def _values(outputs: int, seed: int, loss: Loss) -> Task:
    return Task(data.teacher_values(16, outputs, seed), loss, scores.explained)


def _classes(classes: int, seed: int, loss: Loss) -> Task:
    return Task(data.teacher_classes(20, classes, seed), loss, scores.accuracy)


def _from_100(batch: Batch, generator: torch.Generator) -> Batch:
    return batch[0], 100 + 10 * batch[1]


def _in_10000s(batch: Batch, generator: torch.Generator) -> Batch:
    return batch[0], 1e4 * batch[1]


def _two_classes(batch: Batch, generator: torch.Generator) -> Batch:
    x, y = batch
    return x, ((y < 2) | (y > 7)).float()  # vehicles, and not animals


def _flat(batch: Batch, generator: torch.Generator) -> Batch:
    return (batch[0].flatten(1),)


def _with_value(batch: Batch, generator: torch.Generator) -> Batch:
    x, y = batch
    return x, torch.tanh(x[:, 0] - x[:, 1]), y


def _teacher() -> nn.Module:
    """Return a net with random weights whose classes are spread evenly enough to be learned."""
    return nets.plain((20, 64, 64, 5), nn.Tanh, partial(nn.init.xavier_normal_, gain=1.5))


def _distilled(student: Callable[[], nn.Module], no_grad: bool) -> nn.Module:
    return nets.Distilled(student(), _teacher(), no_grad)


_HE = partial(nn.init.kaiming_normal_, nonlinearity="relu")
_LECUN = partial(nn.init.kaiming_normal_, nonlinearity="linear")
_POINTS = data.teacher_values(16, 1, 40)


def bases() -> list[Base]:
    """Return the healthy runs in the order in which a reader would look for them."""
    return [
        *_image_classifiers(),
        *_other_classifiers(),
        *_regressions(),
        *_sequence_models(),
        *_representations(),
        *_generators_and_agents(),
    ]


def _image_classifiers() -> list[Base]:
    ce = losses.cross_entropy
    return [
        Base("vgg_ce_times_0.01", images.vgg, _images(ce(0.01)), sgd(2.0), (SLOW, DEAD)),
        Base("vgg_2014", images.vgg_without_norm, _images(), adam(1e-3),
             (SIGMOID, HUGE, TINY, DEAD, fast())),
        Base("resnet_ce_summed", images.resnet, _images(ce(reduction="sum")), sgd(0.05 / 64),
             (SLOW, BLIND)),
        Base("mobilenet_smoothing", images.mobilenet, _images(ce(smoothing=0.1)), rmsprop(1e-3),
             (SLOW, BLIND)),
        Base("densenet_ce_times_100", images.densenet, _images(ce(100)), sgd(5e-4),
             (SLOW, fast(1000))),
        Base("mixer_l2_in_loss", images.mixer, _images(losses.with_l2), adam(2e-3), (SLOW,)),
        Base("vit_adamw", images.vit, _images(), adamw(2e-3), (SLOW, fast(), BLIND), 20),
        Base("convnext_focal", images.convnext, _images(losses.focal), adamw(4e-3),
             (SLOW, BLIND), 10),
        Base("inception_two_heads", images.Inceptions, _images(losses.with_auxiliary), adam(2e-3),
             (SLOW, DEAD)),
        Base("functional_relu_mse", images.Functional, _images(losses.one_hot), adam(1e-3),
             (TINY, DEAD, fast(1000))),
        Base("rezero_mlp", images.rezero, _images(), sgd(0.01), (SLOW, fast(1000))),
        Base("skip_init", images.skip_init, _images(), adam(3e-3), (SLOW, BLIND)),
        Base("post_norm", images.post_norm, _images(), sgd(0.03), (SLOW,)),
        Base("shared_block", images.Shared, _images(), adam(2e-3), (SLOW, BLIND)),
        Base("pooled_then_dense", images.pooled_then_dense, _images(), adam(1e-3),
             (DEAD, BLIND)),
        Base("softmax_regression", lambda: nets.zero_linear(768, 10),
             Task(data.pictures, ce(), scores.likelihood), sgd(0.005), (SLOW, fast(1000))),
        Base("linear_probe", images.linear_probe, _images(), adam(1e-3), (SLOW, BLIND)),
        Base("selu_mlp", lambda: nets.Flat(nets.plain((768, *[64] * 11, 10), nn.SELU, _LECUN)),
             _images(), sgd(0.005), (SIGMOID, SMALL, LARGE)),
        Base("relu_mlp_12", lambda: nets.Flat(nets.plain((768, *[96] * 11, 10), nn.ReLU, _HE)),
             _images(), adam(3e-4), (SIGMOID, SMALL, LARGE, ZERO)),
        Base("logistic_regression", lambda: nets.zero_linear(768, 1),
             Task(data.mapped(data.pictures, _two_classes), losses.binary, scores.likelihood),
             sgd(0.005), (SLOW, BLIND)),
    ]  # fmt: skip


def _other_classifiers() -> list[Base]:
    ce = losses.cross_entropy
    return [
        Base("highway_hinge", lambda: nets.highway(20, 5), _classes(5, 10, losses.multi_margin),
             adam(3e-3), (SLOW, BLIND)),
        Base("swish_rare_labels", lambda: nets.mlp(24, 96, 96, 12, act=nn.SiLU),
             Task(data.rare_labels, losses.binary, scores.likelihood), adam(3e-3),
             (SLOW, ZERO)),
        Base("imbalanced", lambda: nets.mlp(20, 64, 64, 2, act=nn.ELU),
             Task(data.one_in_ten, ce(), scores.likelihood, 128), adam(2e-3), (SLOW, BLIND)),
        Base("biases_only", lambda: nets.biases_only(20, 4), _classes(4, 12, ce()), adam(1e-2),
             (SLOW, BLIND)),
        Base("low_rank_update", lambda: nets.low_rank(20, 4),
             Task(data.teacher_classes(20, 4, 14), ce(), scores.likelihood), adam(1e-2),
             (SLOW, DEAD)),
        Base("distillation_no_grad",
             lambda: _distilled(lambda: nets.mlp(20, 48, 48, 5), True),
             Task(data.teacher_classes(20, 5, 16), losses.distillation, scores.as_teacher),
             adam(3e-3), (SLOW,)),
        Base("distillation_in_graph",
             lambda: _distilled(lambda: nets.mlp(20, 64, 5, act=nn.Tanh), False),
             Task(data.teacher_classes(20, 5, 18), losses.distillation, scores.as_teacher),
             sgd(0.05), (SLOW, fast(1000))),
        Base("experts", lambda: nets.Experts(20, 6), _classes(6, 20, ce()), adam(3e-3),
             (ZERO, fast(1000))),
        Base("deep_set", lambda: nets.DeepSet(3, 3), Task(data.sets, ce(), scores.accuracy),
             adam(3e-3), (SLOW, BLIND)),
        Base("temporal_convolution", lambda: nets.temporal(2, 4),
             Task(data.signals, ce(), scores.accuracy), adam(3e-3), (SLOW, BLIND)),
        Base("two_heads",
             lambda: nets.TwoHeads(20, 5),
             Task(data.mapped(data.teacher_classes(20, 5, 22), _with_value), losses.two_tasks,
                  scores.accuracy), adam(3e-3), (SLOW, ZERO)),
        Base("tanh_mlp_10",
             lambda: nets.plain((20, *[64] * 9, 4), nn.Tanh, nn.init.xavier_normal_),
             _classes(4, 24, ce()), sgd(0.03), (STUCK, STEEP, SMALL, fast(1000))),
        Base("gelu_mlp_10", lambda: nets.plain((20, *[64] * 9, 4), nn.GELU, _HE),
             _classes(4, 26, ce()), adam(5e-4), (SIGMOID, ZERO, LARGE)),
    ]  # fmt: skip


def _regressions() -> list[Base]:
    return [
        Base("swiglu_huber",
             lambda: nn.Sequential(nn.Linear(16, 48), *[nets.SwiGLU(48) for _ in range(3)],
                                   nn.Linear(48, 1)),
             _values(1, 30, losses.huber), adam(2e-3), (SLOW, BLIND)),
        Base("glu_log_cosh", lambda: nets.GLUs(16, 2), _values(2, 32, losses.log_cosh), adam(3e-3),
             (SLOW, fast(1000))),
        Base("mean_of_100", lambda: nets.mlp(16, 64, 64, 1),
             Task(data.mapped(_POINTS, _from_100), losses.mse, scores.explained), adam(3e-2),
             (SLOW, DEAD), steps=200),
        Base("targets_in_10000s", lambda: nets.mlp(16, 64, 64, 1, act=nn.Softplus),
             Task(data.mapped(data.teacher_values(16, 1, 34), _in_10000s), losses.mse,
                  scores.explained), adam(0.1), (SLOW,), steps=200),
        Base("gaussian_nll", lambda: nets.mlp(16, 64, 64, 2, act=nn.SiLU),
             Task(data.teacher_values(16, 1, 36, 0.2), losses.gaussian_nll, scores.gaussian),
             adam(3e-3), (SLOW, fast(1000))),
        Base("squared_relu_poisson", lambda: nets.mlp(8, 64, 64, 1, act=nets.SquaredReLU),
             Task(data.counts, losses.poisson_nll, scores.poisson), adam(2e-3),
             (BLIND, LARGE)),
        Base("exp_units", lambda: nets.mlp(16, 32, 32, 1, act=nets.Exp),
             _values(1, 38, losses.mse), adam(2e-3), (SLOW, LARGE)),
        Base("bayes_by_backprop", lambda: nets.bayes(16, 1),
             _values(1, 42, losses.bayes_by_backprop), adam(5e-3), (BLIND, fast(1000))),
        Base("linear_net", lambda: nets.linear_net(16, 48, 48, 48, 1), _values(1, 44, losses.mse),
             sgd(0.01), (SLOW, LARGE)),
        Base("siren", nets.siren, Task(data.waves, losses.mse, scores.explained, 256), adam(3e-4),
             (SLOW, fast(1000))),
        Base("lbfgs", lambda: nets.mlp(16, 32, 32, 1, act=nn.Tanh),
             Task(data.teacher_values(16, 1, 46), losses.mse, scores.explained, 256), lbfgs(0.1),
             (SLOW, STUCK)),
        Base("physics_informed", lambda: nets.mlp(1, 32, 32, 32, 1, act=nn.Tanh),
             Task(data.collocation, losses.physics, scores.poisson_equation, 128), adam(5e-3),
             (SLOW, STUCK), steps=200),
        Base("graph_convolution", lambda: nets.GraphNet(data.ring(), 4, 1),
             Task(data.graphs, losses.mse, scores.explained), adam(5e-3), (SLOW, DEAD)),
        Base("matrix_factors", lambda: nets.MatrixFactors(60, 40, 4),
             Task(data.factors, losses.mse, scores.explained, 256), adam(0.05), (SLOW,)),
        Base("quantiles", lambda: nets.mlp(16, 64, 64, 3, act=nn.Hardswish),
             Task(data.teacher_values(16, 1, 48), losses.pinball, scores.median), adam(3e-3),
             (SLOW, BRIGHT)),
        Base("snake_mse", lambda: nets.mlp(16, 64, 64, 64, 2, act=nets.Snake),
             _values(2, 50, losses.mse), rmsprop(1e-3), (SLOW, fast(1000), LARGE)),
        Base("relu_10_mse", lambda: nets.plain((16, *[64] * 9, 1), nn.LeakyReLU, _HE),
             _values(1, 52, losses.mse), adam(5e-4), (SIGMOID, SMALL, BRIGHT)),
    ]  # fmt: skip


def _sequence_models() -> list[Base]:
    return [
        Base("elman_cell", lambda: nets.Elman(4, 48, 2),
             Task(data.sequences, losses.mse, scores.explained), adam(3e-3), (SLOW, fast(1000))),
        Base("looped_tanh", lambda: nets.LoopedTanh(4, 48, 2),
             Task(data.sequences, losses.huber, scores.explained), rmsprop(1e-3),
             (PUSHED, fast(1000), STEEP)),
        Base("gru_language", lambda: nets.RecurrentModel(nn.GRU, 12, 48),
             Task(data.chains(12, 17, 60), losses.next_token, scores.predicted, 48), adam(5e-3),
             (SLOW, fast(1000))),
        Base("lstm_language", lambda: nets.RecurrentModel(nn.LSTM, 16, 48),
             Task(data.chains(16, 17, 64), losses.next_token, scores.predicted, 48), adam(1e-2),
             (SLOW,)),
        Base("transformer_language", lambda: nets.LanguageModel(12, 16, 48, False),
             Task(data.chains(12, 17, 68), losses.next_token, scores.predicted, 48), adamw(3e-3),
             (SLOW, fast()), 15),
        Base("transformer_tied", lambda: nets.LanguageModel(10, 16, 48, True),
             Task(data.chains(10, 17, 72), losses.next_token, scores.predicted, 48), adamw(6e-3),
             (SLOW,), 15, steps=200),
        Base("ctc", lambda: nets.ConvCTC(6, 6), Task(data.spelled, losses.ctc, scores.spelling),
             adam(1e-2), (SLOW,), steps=200),
    ]  # fmt: skip


def _representations() -> list[Base]:
    surface = data.low_dimensional
    flat_images = data.mapped(data.pictures, _flat)
    return [
        Base("dense_autoencoder", lambda: nets.mlp(768, 128, 24, 128, 768, act=nn.ELU),
             Task(flat_images, losses.autoencoding, scores.reconstructed), adam(1e-3),
             (SLOW, ZERO)),
        Base("conv_autoencoder", images.conv_autoencoder,
             Task(data.pictures, losses.autoencoding, scores.reconstructed), adam(2e-3),
             (SLOW, DEAD, LARGE)),
        Base("vae", lambda: nets.VAE(32, 4), Task(surface(32, 4, 80), losses.elbo,
             scores.reconstructed), adam(2e-3), (SLOW, DEAD)),
        Base("denoising_autoencoder", lambda: nets.mlp(48, 96, 16, 96, 48, act=nn.Mish),
             Task(surface(48, 5, 84), losses.denoising, scores.reconstructed), adam(2e-3),
             (SLOW, fast(1000))),
        Base("top_k_autoencoder", lambda: nets.SparseAutoencoder(40, 128, 8),
             Task(surface(40, 5, 86), losses.top_k, scores.reconstructed), adam(3e-3),
             (SLOW, DEAD)),
        Base("l1_autoencoder", lambda: nets.SparseAutoencoder(40, 128),
             Task(surface(40, 5, 88), losses.sparse, scores.reconstructed), adam(2e-3),
             (SLOW, fast(1000))),
        Base("simclr", lambda: images.Projected(nn.ReLU, 32),
             Task(data.views, losses.nt_xent, scores.told_apart), adam(1e-3), (DEAD,)),
        Base("cosine_embedding", lambda: images.Projected(nn.GELU, 24, False),
             Task(data.views, losses.cosine_embedding, scores.told_apart), adam(1e-3), (DEAD,)),
        Base("triplet", lambda: nets.mlp(20, 64, 64, 16, act=nn.LeakyReLU),
             Task(data.teacher_classes(20, 3, 90), losses.triplet, scores.nearest_class),
             adam(2e-3), (ZERO,)),
    ]  # fmt: skip


def _generators_and_agents() -> list[Base]:
    arms = Task(data.bandit, losses.reinforce, scores.reward)
    return [
        Base("unet_diffusion", images.UNet,
             Task(data.pictures, losses.noise_of_images, scores.noise_of_images_explained, 16),
             adam(2e-3), (SLOW, fast(1000))),
        Base("point_diffusion", lambda: nets.mlp(3, 96, 96, 96, 2, act=nn.SiLU),
             Task(data.moons, losses.noise_of_points, scores.noise_of_points_explained, 256),
             adam(3e-3), (SLOW, ZERO)),
        Base("real_nvp", nets.Flow2D, Task(data.moons, losses.flow_nll, scores.flow_density, 256),
             adam(5e-3), (SLOW, fast(1000))),
        Base("dcgan", images.Generative, Task(data.spots, losses.mse, scores.ringed),
             gan_adam(2e-3), (SLOW, DEAD)),
        Base("q_bandit", lambda: nets.mlp(10, 64, 64, 5), Task(data.bandit, losses.q_learning,
             scores.explained), adam(3e-3), (SLOW, DEAD)),
        Base("reinforce_bandit", lambda: nets.mlp(10, 64, 64, 5, act=nn.Tanh), arms, adam(5e-3),
             (SLOW, STUCK)),
    ]  # fmt: skip
