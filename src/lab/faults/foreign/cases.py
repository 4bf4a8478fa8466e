"""The foreign suite: nets, losses and optimizers that strangers would bring, healthy and sick.

Each base is a net with sane settings. Its sick versions have one fault each. The label of a run is
its outcome, a score on data that it was not trained on, and not the fault that was put in: a score
of `HEALTHY` or more is healthy, one of `SICK` or less is sick, and one between is unclear and
counted apart. The kinds that name a fault rightly are listed here; they count only if the base
learned and the faulty run did not. No module tells the monitor its chance loss.

The bases are dealt into two parts by a fixed shuffle. No base is in both.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias, cast

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer

from gradflow.gradients.verdict import Kind
from lab.faults.foreign import data as data
from lab.faults.foreign import image_nets as images
from lab.faults.foreign import losses as losses
from lab.faults.foreign import nets as nets
from lab.faults.foreign import scores as scores
from lab.faults.foreign.data import Batch
from lab.faults.foreign.losses import Loss
from lab.faults.foreign.tasks import Batches, Task, held_out_score

SICK, HEALTHY = 0.02, 0.05  # scores; see the top of this file
STEPS = 150
Optimize: TypeAlias = Callable[[list[nn.Parameter], float], Optimizer]  # parameters, lr factor
Build: TypeAlias = Callable[
    [], tuple[LightningModule, Iterable[Batch], Callable[[LightningModule], float]]
]


@dataclass(frozen=True)
class ForeignCase:
    """One run of the suite."""

    name: str
    part: str  # tuning or held_out
    base: str
    fault: str  # none, or the name of the fault
    allowed: tuple[Kind, ...]  # the kinds that name the cause rightly
    steps: int
    seed: int
    build: Build  # the module, its batches, and its score after training


@dataclass(frozen=True)
class Fault:
    """One change to a healthy run, and the kinds that are right for it."""

    name: str
    kinds: tuple[Kind, ...]
    lr: float = 1.0  # factor on the learning rate
    change: Callable[[nn.Module], None] | None = None  # of the net before training
    blind: bool = False  # inputs belong to other examples than targets
    inputs: float = 1.0  # factor on the inputs


@dataclass(frozen=True)
class Base:
    """A healthy run, and the faults that its sick versions have."""

    name: str
    net: Callable[[], nn.Module]
    task: Task
    optimize: Optimize
    faults: tuple[Fault, ...]
    warm_up: int = 0  # steps
    steps: int = STEPS


class Stranger(LightningModule):
    """An ordinary module: one net, one loss, one optimizer."""

    def __init__(self, net: nn.Module, base: Base, lr: float) -> None:
        super().__init__()
        self.net, self.base, self.lr = net, base, lr

    def training_step(self, batch: Batch) -> Tensor:
        """Return the loss of a batch."""
        return self.base.task.loss(self.net, batch)

    def configure_optimizers(self) -> Any:
        """Return the base's optimizer, with warm-up if the base has one."""
        optimizer = self.base.optimize([p for p in self.parameters() if p.requires_grad], self.lr)
        if not self.base.warm_up:
            return optimizer
        steps = self.base.warm_up
        rate = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda i: min((i + 1) / steps, 1.0))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": rate, "interval": "step"}}


class Adversaries(LightningModule):
    """A GAN: critic and generator take turns, each with its own optimizer."""

    def __init__(self, net: images.Generative, base: Base, lr: float) -> None:
        super().__init__()
        self.net, self.base, self.lr = net, base, lr
        self.automatic_optimization = False

    def training_step(self, batch: Batch) -> None:
        """Train the critic, then the generator, with the non-saturating loss."""
        (real,) = batch
        for_critic, for_generator = cast(list[Optimizer], self.optimizers())
        softplus = nn.functional.softplus
        made = self.net(len(real))
        critic = softplus(-self.net.critic(real)) + softplus(self.net.critic(made.detach()))
        for_critic.zero_grad()
        self.manual_backward(critic.mean())
        for_critic.step()
        generator = softplus(-self.net.critic(made)).mean()
        for_generator.zero_grad()
        self.manual_backward(generator)
        for_generator.step()

    def configure_optimizers(self) -> list[Optimizer]:
        """Return the critic's optimizer and the generator's."""
        return [
            self.base.optimize(list(net.parameters()), self.lr)
            for net in (self.net.critic, self.net.generator)
        ]


# Optimizers


def _adam(lr: float) -> Optimize:
    return lambda p, factor: torch.optim.Adam(p, lr * factor)


def _gan_adam(lr: float) -> Optimize:
    return lambda p, factor: torch.optim.Adam(p, lr * factor, betas=(0.5, 0.999))


def _adamw(lr: float, decay: float = 0.05) -> Optimize:
    return lambda p, factor: torch.optim.AdamW(p, lr * factor, weight_decay=decay)


def _sgd(lr: float, momentum: float = 0.9) -> Optimize:
    return lambda p, factor: torch.optim.SGD(p, lr * factor, momentum)


def _rmsprop(lr: float) -> Optimize:
    return lambda p, factor: torch.optim.RMSprop(p, lr * factor)


def _lbfgs(lr: float) -> Optimize:
    return lambda p, factor: torch.optim.LBFGS(p, lr * factor, max_iter=4)


# Faults


@torch.no_grad()
def _scale(net: nn.Module, factor: float) -> None:
    for p in net.parameters():
        if p.ndim > 1:
            p.mul_(factor)


@torch.no_grad()
def _zero_hidden(net: nn.Module) -> None:
    """Set all weights and biases to 0 except the last layer's weight."""
    last = [p for p in net.parameters() if p.ndim > 1][-1]
    for p in net.parameters():
        if p is not last:
            p.zero_()


@torch.no_grad()
def _shift(net: nn.Module, bias: float, random_sign: bool = False) -> None:
    """Set all biases to `bias` except those of the last layer."""
    biases = [p for name, p in net.named_parameters() if name.endswith("bias") and p.ndim == 1]
    for p in biases[:-1]:
        sign = torch.randint(0, 2, p.shape) * 2.0 - 1 if random_sign else 1.0
        p.copy_(torch.full_like(p, bias) * sign)


def _sigmoid(net: nn.Module) -> None:
    """Replace every activation module by a sigmoid."""
    kinds = (nn.ReLU, nn.GELU, nn.SiLU, nn.Tanh, nn.SELU, nn.ELU, nn.Mish, nn.LeakyReLU)
    for module in list(net.modules()):
        for name, child in module.named_children():
            if isinstance(child, kinds):
                setattr(module, name, nn.Sigmoid())


_SLOW = Fault("lr_too_low", ("untrained",), lr=1e-4)
_BLIND = Fault("blind", ("untrained",), blind=True)
_SMALL = Fault("init_too_small", ("frozen", "vanishing"), change=partial(_scale, factor=0.1))
_TINY = Fault("init_too_small", ("frozen", "vanishing"), change=partial(_scale, factor=0.02))
_LARGE = Fault("init_too_large", ("exploding", "diverged"), change=partial(_scale, factor=5.0))
_HUGE = Fault("init_too_large", ("exploding", "diverged"), change=partial(_scale, factor=20.0))
_STEEP = Fault(
    "init_too_large", ("saturated", "exploding", "diverged"), change=partial(_scale, factor=20.0)
)
_SIGMOID = Fault("sigmoid", ("vanishing",), change=_sigmoid)
_DEAD = Fault("negative_bias", ("dead",), change=partial(_shift, bias=-30.0))
_STUCK = Fault("large_bias", ("saturated",), change=partial(_shift, bias=30.0, random_sign=True))
_PUSHED = Fault("large_bias", ("saturated",), change=partial(_shift, bias=30.0))
_ZERO = Fault("zero_weights", ("frozen", "dead", "vanishing"), change=_zero_hidden)
_BRIGHT = Fault("inputs_too_large", ("exploding", "diverged", "dead", "saturated"), inputs=1e4)


def _fast(factor: float = 300.0) -> Fault:
    return Fault("lr_too_high", ("diverged", "exploding", "dead", "saturated"), lr=factor)


# Bases


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
        Base("vgg_ce_times_0.01", images.vgg, _images(ce(0.01)), _sgd(2.0), (_SLOW, _DEAD)),
        Base("vgg_2014", images.vgg_without_norm, _images(), _adam(1e-3),
             (_SIGMOID, _HUGE, _TINY, _DEAD, _fast())),
        Base("resnet_ce_summed", images.resnet, _images(ce(reduction="sum")), _sgd(0.05 / 64),
             (_SLOW, _BLIND)),
        Base("mobilenet_smoothing", images.mobilenet, _images(ce(smoothing=0.1)), _rmsprop(1e-3),
             (_SLOW, _BLIND)),
        Base("densenet_ce_times_100", images.densenet, _images(ce(100)), _sgd(5e-4),
             (_SLOW, _fast(1000))),
        Base("mixer_l2_in_loss", images.mixer, _images(losses.with_l2), _adam(2e-3), (_SLOW,)),
        Base("vit_adamw", images.vit, _images(), _adamw(2e-3), (_SLOW, _fast(), _BLIND), 20),
        Base("convnext_focal", images.convnext, _images(losses.focal), _adamw(4e-3),
             (_SLOW, _BLIND), 10),
        Base("inception_two_heads", images.Inceptions, _images(losses.with_auxiliary), _adam(2e-3),
             (_SLOW, _DEAD)),
        Base("functional_relu_mse", images.Functional, _images(losses.one_hot), _adam(1e-3),
             (_TINY, _DEAD, _fast(1000))),
        Base("rezero_mlp", images.rezero, _images(), _sgd(0.01), (_SLOW, _fast(1000))),
        Base("skip_init", images.skip_init, _images(), _adam(3e-3), (_SLOW, _BLIND)),
        Base("post_norm", images.post_norm, _images(), _sgd(0.03), (_SLOW,)),
        Base("shared_block", images.Shared, _images(), _adam(2e-3), (_SLOW, _BLIND)),
        Base("pooled_then_dense", images.pooled_then_dense, _images(), _adam(1e-3),
             (_DEAD, _BLIND)),
        Base("softmax_regression", lambda: nets.zero_linear(768, 10),
             Task(data.pictures, ce(), scores.likelihood), _sgd(0.005), (_SLOW, _fast(1000))),
        Base("linear_probe", images.linear_probe, _images(), _adam(1e-3), (_SLOW, _BLIND)),
        Base("selu_mlp", lambda: nets.Flat(nets.plain((768, *[64] * 11, 10), nn.SELU, _LECUN)),
             _images(), _sgd(0.005), (_SIGMOID, _SMALL, _LARGE)),
        Base("relu_mlp_12", lambda: nets.Flat(nets.plain((768, *[96] * 11, 10), nn.ReLU, _HE)),
             _images(), _adam(3e-4), (_SIGMOID, _SMALL, _LARGE, _ZERO)),
        Base("logistic_regression", lambda: nets.zero_linear(768, 1),
             Task(data.mapped(data.pictures, _two_classes), losses.binary, scores.likelihood),
             _sgd(0.005), (_SLOW, _BLIND)),
    ]  # fmt: skip


def _other_classifiers() -> list[Base]:
    ce = losses.cross_entropy
    return [
        Base("highway_hinge", lambda: nets.highway(20, 5), _classes(5, 10, losses.multi_margin),
             _adam(3e-3), (_SLOW, _BLIND)),
        Base("swish_rare_labels", lambda: nets.mlp(24, 96, 96, 12, act=nn.SiLU),
             Task(data.rare_labels, losses.binary, scores.likelihood), _adam(3e-3),
             (_SLOW, _ZERO)),
        Base("imbalanced", lambda: nets.mlp(20, 64, 64, 2, act=nn.ELU),
             Task(data.one_in_ten, ce(), scores.likelihood, 128), _adam(2e-3), (_SLOW, _BLIND)),
        Base("biases_only", lambda: nets.biases_only(20, 4), _classes(4, 12, ce()), _adam(1e-2),
             (_SLOW, _BLIND)),
        Base("low_rank_update", lambda: nets.low_rank(20, 4),
             Task(data.teacher_classes(20, 4, 14), ce(), scores.likelihood), _adam(1e-2),
             (_SLOW, _DEAD)),
        Base("distillation_no_grad",
             lambda: _distilled(lambda: nets.mlp(20, 48, 48, 5), True),
             Task(data.teacher_classes(20, 5, 16), losses.distillation, scores.as_teacher),
             _adam(3e-3), (_SLOW,)),
        Base("distillation_in_graph",
             lambda: _distilled(lambda: nets.mlp(20, 64, 5, act=nn.Tanh), False),
             Task(data.teacher_classes(20, 5, 18), losses.distillation, scores.as_teacher),
             _sgd(0.05), (_SLOW, _fast(1000))),
        Base("experts", lambda: nets.Experts(20, 6), _classes(6, 20, ce()), _adam(3e-3),
             (_ZERO, _fast(1000))),
        Base("deep_set", lambda: nets.DeepSet(3, 3), Task(data.sets, ce(), scores.accuracy),
             _adam(3e-3), (_SLOW, _BLIND)),
        Base("temporal_convolution", lambda: nets.temporal(2, 4),
             Task(data.signals, ce(), scores.accuracy), _adam(3e-3), (_SLOW, _BLIND)),
        Base("two_heads",
             lambda: nets.TwoHeads(20, 5),
             Task(data.mapped(data.teacher_classes(20, 5, 22), _with_value), losses.two_tasks,
                  scores.accuracy), _adam(3e-3), (_SLOW, _ZERO)),
        Base("tanh_mlp_10",
             lambda: nets.plain((20, *[64] * 9, 4), nn.Tanh, nn.init.xavier_normal_),
             _classes(4, 24, ce()), _sgd(0.03), (_STUCK, _STEEP, _SMALL, _fast(1000))),
        Base("gelu_mlp_10", lambda: nets.plain((20, *[64] * 9, 4), nn.GELU, _HE),
             _classes(4, 26, ce()), _adam(5e-4), (_SIGMOID, _ZERO, _LARGE)),
    ]  # fmt: skip


def _regressions() -> list[Base]:
    return [
        Base("swiglu_huber",
             lambda: nn.Sequential(nn.Linear(16, 48), *[nets.SwiGLU(48) for _ in range(3)],
                                   nn.Linear(48, 1)),
             _values(1, 30, losses.huber), _adam(2e-3), (_SLOW, _BLIND)),
        Base("glu_log_cosh", lambda: nets.GLUs(16, 2), _values(2, 32, losses.log_cosh), _adam(3e-3),
             (_SLOW, _fast(1000))),
        Base("mean_of_100", lambda: nets.mlp(16, 64, 64, 1),
             Task(data.mapped(_POINTS, _from_100), losses.mse, scores.explained), _adam(3e-2),
             (_SLOW, _DEAD), steps=200),
        Base("targets_in_10000s", lambda: nets.mlp(16, 64, 64, 1, act=nn.Softplus),
             Task(data.mapped(data.teacher_values(16, 1, 34), _in_10000s), losses.mse,
                  scores.explained), _adam(0.1), (_SLOW,), steps=200),
        Base("gaussian_nll", lambda: nets.mlp(16, 64, 64, 2, act=nn.SiLU),
             Task(data.teacher_values(16, 1, 36, 0.2), losses.gaussian_nll, scores.gaussian),
             _adam(3e-3), (_SLOW, _fast(1000))),
        Base("squared_relu_poisson", lambda: nets.mlp(8, 64, 64, 1, act=nets.SquaredReLU),
             Task(data.counts, losses.poisson_nll, scores.poisson), _adam(2e-3),
             (_BLIND, _LARGE)),
        Base("exp_units", lambda: nets.mlp(16, 32, 32, 1, act=nets.Exp),
             _values(1, 38, losses.mse), _adam(2e-3), (_SLOW, _LARGE)),
        Base("bayes_by_backprop", lambda: nets.bayes(16, 1),
             _values(1, 42, losses.bayes_by_backprop), _adam(5e-3), (_BLIND, _fast(1000))),
        Base("linear_net", lambda: nets.linear_net(16, 48, 48, 48, 1), _values(1, 44, losses.mse),
             _sgd(0.01), (_SLOW, _LARGE)),
        Base("siren", nets.siren, Task(data.waves, losses.mse, scores.explained, 256), _adam(3e-4),
             (_SLOW, _fast(1000))),
        Base("lbfgs", lambda: nets.mlp(16, 32, 32, 1, act=nn.Tanh),
             Task(data.teacher_values(16, 1, 46), losses.mse, scores.explained, 256), _lbfgs(0.1),
             (_SLOW, _STUCK)),
        Base("physics_informed", lambda: nets.mlp(1, 32, 32, 32, 1, act=nn.Tanh),
             Task(data.collocation, losses.physics, scores.poisson_equation, 128), _adam(5e-3),
             (_SLOW, _STUCK), steps=200),
        Base("graph_convolution", lambda: nets.GraphNet(data.ring(), 4, 1),
             Task(data.graphs, losses.mse, scores.explained), _adam(5e-3), (_SLOW, _DEAD)),
        Base("matrix_factors", lambda: nets.MatrixFactors(60, 40, 4),
             Task(data.factors, losses.mse, scores.explained, 256), _adam(0.05), (_SLOW,)),
        Base("quantiles", lambda: nets.mlp(16, 64, 64, 3, act=nn.Hardswish),
             Task(data.teacher_values(16, 1, 48), losses.pinball, scores.median), _adam(3e-3),
             (_SLOW, _BRIGHT)),
        Base("snake_mse", lambda: nets.mlp(16, 64, 64, 64, 2, act=nets.Snake),
             _values(2, 50, losses.mse), _rmsprop(1e-3), (_SLOW, _fast(1000), _LARGE)),
        Base("relu_10_mse", lambda: nets.plain((16, *[64] * 9, 1), nn.LeakyReLU, _HE),
             _values(1, 52, losses.mse), _adam(5e-4), (_SIGMOID, _SMALL, _BRIGHT)),
    ]  # fmt: skip


def _sequence_models() -> list[Base]:
    return [
        Base("elman_cell", lambda: nets.Elman(4, 48, 2),
             Task(data.sequences, losses.mse, scores.explained), _adam(3e-3), (_SLOW, _fast(1000))),
        Base("looped_tanh", lambda: nets.LoopedTanh(4, 48, 2),
             Task(data.sequences, losses.huber, scores.explained), _rmsprop(1e-3),
             (_PUSHED, _fast(1000), _STEEP)),
        Base("gru_language", lambda: nets.RecurrentModel(nn.GRU, 12, 48),
             Task(data.chains(12, 17, 60), losses.next_token, scores.predicted, 48), _adam(5e-3),
             (_SLOW, _fast(1000))),
        Base("lstm_language", lambda: nets.RecurrentModel(nn.LSTM, 16, 48),
             Task(data.chains(16, 17, 64), losses.next_token, scores.predicted, 48), _adam(1e-2),
             (_SLOW,)),
        Base("transformer_language", lambda: nets.LanguageModel(12, 16, 48, False),
             Task(data.chains(12, 17, 68), losses.next_token, scores.predicted, 48), _adamw(3e-3),
             (_SLOW, _fast()), 15),
        Base("transformer_tied", lambda: nets.LanguageModel(10, 16, 48, True),
             Task(data.chains(10, 17, 72), losses.next_token, scores.predicted, 48), _adamw(6e-3),
             (_SLOW,), 15, steps=200),
        Base("ctc", lambda: nets.ConvCTC(6, 6), Task(data.spelled, losses.ctc, scores.spelling),
             _adam(1e-2), (_SLOW,), steps=200),
    ]  # fmt: skip


def _representations() -> list[Base]:
    surface = data.low_dimensional
    flat_images = data.mapped(data.pictures, _flat)
    return [
        Base("dense_autoencoder", lambda: nets.mlp(768, 128, 24, 128, 768, act=nn.ELU),
             Task(flat_images, losses.autoencoding, scores.reconstructed), _adam(1e-3),
             (_SLOW, _ZERO)),
        Base("conv_autoencoder", images.conv_autoencoder,
             Task(data.pictures, losses.autoencoding, scores.reconstructed), _adam(2e-3),
             (_SLOW, _DEAD, _LARGE)),
        Base("vae", lambda: nets.VAE(32, 4), Task(surface(32, 4, 80), losses.elbo,
             scores.reconstructed), _adam(2e-3), (_SLOW, _DEAD)),
        Base("denoising_autoencoder", lambda: nets.mlp(48, 96, 16, 96, 48, act=nn.Mish),
             Task(surface(48, 5, 84), losses.denoising, scores.reconstructed), _adam(2e-3),
             (_SLOW, _fast(1000))),
        Base("top_k_autoencoder", lambda: nets.SparseAutoencoder(40, 128, 8),
             Task(surface(40, 5, 86), losses.top_k, scores.reconstructed), _adam(3e-3),
             (_SLOW, _DEAD)),
        Base("l1_autoencoder", lambda: nets.SparseAutoencoder(40, 128),
             Task(surface(40, 5, 88), losses.sparse, scores.reconstructed), _adam(2e-3),
             (_SLOW, _fast(1000))),
        Base("simclr", lambda: images.Projected(nn.ReLU, 32),
             Task(data.views, losses.nt_xent, scores.told_apart), _adam(1e-3), (_DEAD,)),
        Base("cosine_embedding", lambda: images.Projected(nn.GELU, 24, False),
             Task(data.views, losses.cosine_embedding, scores.told_apart), _adam(1e-3), (_DEAD,)),
        Base("triplet", lambda: nets.mlp(20, 64, 64, 16, act=nn.LeakyReLU),
             Task(data.teacher_classes(20, 3, 90), losses.triplet, scores.nearest_class),
             _adam(2e-3), (_ZERO,)),
    ]  # fmt: skip


def _generators_and_agents() -> list[Base]:
    arms = Task(data.bandit, losses.reinforce, scores.reward)
    return [
        Base("unet_diffusion", images.UNet,
             Task(data.pictures, losses.noise_of_images, scores.noise_of_images_explained, 16),
             _adam(2e-3), (_SLOW, _fast(1000))),
        Base("point_diffusion", lambda: nets.mlp(3, 96, 96, 96, 2, act=nn.SiLU),
             Task(data.moons, losses.noise_of_points, scores.noise_of_points_explained, 256),
             _adam(3e-3), (_SLOW, _ZERO)),
        Base("real_nvp", nets.Flow2D, Task(data.moons, losses.flow_nll, scores.flow_density, 256),
             _adam(5e-3), (_SLOW, _fast(1000))),
        Base("dcgan", images.Generative, Task(data.spots, losses.mse, scores.ringed),
             _gan_adam(2e-3), (_SLOW, _DEAD)),
        Base("q_bandit", lambda: nets.mlp(10, 64, 64, 5), Task(data.bandit, losses.q_learning,
             scores.explained), _adam(3e-3), (_SLOW, _DEAD)),
        Base("reinforce_bandit", lambda: nets.mlp(10, 64, 64, 5, act=nn.Tanh), arms, _adam(5e-3),
             (_SLOW, _STUCK)),
    ]  # fmt: skip


def foreign_cases() -> list[ForeignCase]:
    """Return every run of the suite, the same ones each time."""
    found: list[ForeignCase] = []
    every = bases()
    names = random.Random(0).sample([base.name for base in every], len(every))
    tuning = set(names[: len(names) // 2])
    for i, base in enumerate(every):
        part = "tuning" if base.name in tuning else "held_out"
        for fault in (Fault("none", ("healthy",)), *base.faults):
            found.append(
                ForeignCase(
                    f"{base.name}-{fault.name}",
                    part,
                    base.name,
                    fault.name,
                    fault.kinds,
                    base.steps,
                    seed=10_000 + i,
                    build=partial(_build, base, fault, 10_000 + i),
                )
            )
    return found


def _build(
    base: Base, fault: Fault, seed: int
) -> tuple[LightningModule, Batches, Callable[[LightningModule], float]]:
    """Build a run; it and its healthy base draw the same weights and the same data."""
    torch.manual_seed(seed)
    net = base.net()
    if fault.change is not None:
        fault.change(net)
    module: LightningModule
    if isinstance(net, images.Generative):
        module = Adversaries(net, base, fault.lr)
    else:
        module = Stranger(net, base, fault.lr)

    def score(trained: LightningModule) -> float:
        torch.manual_seed(seed)  # some scores draw noise
        return held_out_score(base.task, net, seed, fault.inputs)

    return module, Batches(base.task, seed, fault.blind, fault.inputs), score
