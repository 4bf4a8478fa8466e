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
from typing import Any, TypeAlias

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer

from gradflow.gradients.verdict import Kind
from lab.faults import foreign_nets as nets
from lab.faults import foreign_tasks as tasks
from lab.faults.foreign_tasks import Batch, Batches, Task, held_out_score

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

    def __init__(self, net: nets.Generative, base: Base, lr: float) -> None:
        super().__init__()
        self.net, self.base, self.lr = net, base, lr
        self.automatic_optimization = False

    def training_step(self, batch: Batch) -> None:
        """Train the critic, then the generator, with the non-saturating loss."""
        (real,) = batch
        for_critic, for_generator = self.optimizers()  # type: ignore[misc]
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
    """Set all weights to 0 except those of the last layer."""
    for p in [p for p in net.parameters() if p.ndim > 1][:-1]:
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
_STEEP = Fault(
    "init_too_large", ("saturated", "exploding", "diverged"), change=partial(_scale, factor=20.0)
)
_SIGMOID = Fault("sigmoid", ("vanishing",), change=_sigmoid)
_DEAD = Fault("negative_bias", ("dead",), change=partial(_shift, bias=-30.0))
_STUCK = Fault("large_bias", ("saturated",), change=partial(_shift, bias=30.0, random_sign=True))
_ZERO = Fault("zero_weights", ("frozen", "dead", "vanishing"), change=_zero_hidden)
_BRIGHT = Fault("inputs_too_large", ("exploding", "diverged", "dead", "saturated"), inputs=1e4)


def _fast(factor: float = 300.0) -> Fault:
    return Fault("lr_too_high", ("diverged", "exploding", "dead", "saturated"), lr=factor)


# Bases


def _images(loss: tasks.Loss = tasks.cross_entropy(), n: int = 64) -> Task:  # noqa: B008
    return Task(tasks.pictures, loss, tasks.accuracy, n)


def _values(outputs: int, seed: int, loss: tasks.Loss) -> Task:
    return Task(tasks.teacher_values(16, outputs, seed), loss, tasks.explained)


def _classes(classes: int, seed: int, loss: tasks.Loss) -> Task:
    return Task(tasks.teacher_classes(20, classes, seed), loss, tasks.accuracy)


def _from_100(batch: Batch, generator: torch.Generator) -> Batch:
    return batch[0], 100 + 10 * batch[1]


def _in_10000s(batch: Batch, generator: torch.Generator) -> Batch:
    return batch[0], 1e4 * batch[1]


def _two_classes(batch: Batch, generator: torch.Generator) -> Batch:
    return batch[0], (batch[1] > 4).float()


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
_POINTS = tasks.teacher_values(16, 1, 40)


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
    ce = tasks.cross_entropy
    return [
        Base("vgg_ce_times_0.01", nets.vgg, _images(ce(0.01)), _sgd(2.0), (_SLOW, _DEAD)),
        Base("vgg_2014", nets.vgg_without_norm, _images(), _adam(1e-3),
             (_SIGMOID, _LARGE, _TINY, _DEAD, _fast())),
        Base("resnet_ce_summed", nets.resnet, _images(ce(reduction="sum")), _sgd(0.05 / 64),
             (_SLOW, _BLIND)),
        Base("mobilenet_smoothing", nets.mobilenet, _images(ce(smoothing=0.1)), _rmsprop(1e-3),
             (_SLOW, _BLIND)),
        Base("densenet_ce_times_100", nets.densenet, _images(ce(100)), _sgd(5e-4),
             (_SLOW, _fast(1000))),
        Base("mixer_l2_in_loss", nets.mixer, _images(tasks.with_l2), _adam(2e-3), (_SLOW,)),
        Base("vit_adamw", nets.vit, _images(), _adamw(2e-3), (_SLOW, _fast(), _BLIND), 20),
        Base("convnext_focal", nets.convnext, _images(tasks.focal), _adamw(4e-3), (_SLOW, _BLIND),
             10),
        Base("inception_two_heads", nets.Inceptions, _images(tasks.with_auxiliary), _adam(2e-3),
             (_SLOW, _DEAD)),
        Base("functional_relu_mse", nets.Functional, _images(tasks.one_hot), _adam(1e-3),
             (_TINY, _DEAD, _fast(1000))),
        Base("rezero_mlp", nets.rezero, _images(), _sgd(0.01), (_SLOW, _fast(1000))),
        Base("skip_init", nets.skip_init, _images(), _adam(3e-3), (_SLOW, _BLIND)),
        Base("post_norm", nets.post_norm, _images(), _sgd(0.03), (_SLOW,)),
        Base("shared_block", nets.Shared, _images(), _adam(2e-3), (_SLOW, _fast(1000))),
        Base("pooled_then_dense", nets.pooled_then_dense, _images(), _adam(1e-3),
             (_DEAD, _BLIND)),
        Base("softmax_regression", lambda: nets.zero_linear(768, 10), _images(), _sgd(0.005),
             (_SLOW, _fast(1000))),
        Base("linear_probe", nets.linear_probe, _images(), _adam(1e-3), (_SLOW, _BLIND)),
        Base("selu_mlp", lambda: nets.Flat(nets.plain((768, *[64] * 11, 10), nn.SELU, _LECUN)),
             _images(), _sgd(0.005), (_SIGMOID, _SMALL, _LARGE)),
        Base("relu_mlp_12", lambda: nets.Flat(nets.plain((768, *[96] * 11, 10), nn.ReLU, _HE)),
             _images(), _adam(3e-4), (_SIGMOID, _SMALL, _LARGE, _ZERO)),
        Base("logistic_regression", lambda: nets.zero_linear(768, 1),
             Task(tasks.mapped(tasks.pictures, _two_classes), tasks.binary, tasks.likelihood),
             _sgd(0.005), (_SLOW, _BLIND)),
    ]  # fmt: skip


def _other_classifiers() -> list[Base]:
    ce = tasks.cross_entropy
    return [
        Base("highway_hinge", lambda: nets.highway(20, 5), _classes(5, 10, tasks.multi_margin),
             _adam(3e-3), (_SLOW, _BLIND)),
        Base("swish_rare_labels", lambda: nets.mlp(24, 96, 96, 12, act=nn.SiLU),
             Task(tasks.rare_labels, tasks.binary, tasks.likelihood), _adam(3e-3),
             (_SLOW, _BLIND)),
        Base("imbalanced", lambda: nets.mlp(20, 64, 64, 2, act=nn.ELU),
             Task(tasks.one_in_ten, ce(), tasks.likelihood, 128), _adam(2e-3), (_SLOW, _BLIND)),
        Base("biases_only", lambda: nets.biases_only(20, 4), _classes(4, 12, ce()), _adam(1e-2),
             (_SLOW, _BLIND)),
        Base("low_rank_update", lambda: nets.low_rank(20, 4), _classes(4, 14, ce()), _adam(1e-2),
             (_SLOW, _DEAD)),
        Base("distillation_no_grad",
             lambda: _distilled(lambda: nets.mlp(20, 48, 48, 5), True),
             Task(tasks.teacher_classes(20, 5, 16), tasks.distillation, tasks.as_teacher),
             _adam(3e-3), (_SLOW,)),
        Base("distillation_in_graph",
             lambda: _distilled(lambda: nets.mlp(20, 64, 5, act=nn.Tanh), False),
             Task(tasks.teacher_classes(20, 5, 18), tasks.distillation, tasks.as_teacher),
             _sgd(0.05), (_SLOW, _fast(1000))),
        Base("experts", lambda: nets.Experts(20, 6), _classes(6, 20, ce()), _adam(3e-3),
             (_SLOW, _fast(1000))),
        Base("deep_set", lambda: nets.DeepSet(3, 3), Task(tasks.sets, ce(), tasks.accuracy),
             _adam(3e-3), (_SLOW, _BLIND)),
        Base("temporal_convolution", lambda: nets.temporal(2, 4),
             Task(tasks.signals, ce(), tasks.accuracy), _adam(3e-3), (_SLOW, _BLIND)),
        Base("two_heads",
             lambda: nets.TwoHeads(20, 5),
             Task(tasks.mapped(tasks.teacher_classes(20, 5, 22), _with_value), tasks.two_tasks,
                  tasks.accuracy), _adam(3e-3), (_SLOW, _fast(1000))),
        Base("tanh_mlp_10",
             lambda: nets.plain((20, *[64] * 9, 4), nn.Tanh, nn.init.xavier_normal_),
             _classes(4, 24, ce()), _sgd(0.03), (_STUCK, _STEEP, _SMALL, _fast(1000))),
        Base("gelu_mlp_10", lambda: nets.plain((20, *[64] * 9, 4), nn.GELU, _HE),
             _classes(4, 26, ce()), _adam(5e-4), (_SIGMOID, _SMALL, _LARGE)),
    ]  # fmt: skip


def _regressions() -> list[Base]:
    bayes = lambda: nets.bayes(16, 1)  # noqa: E731
    return [
        Base("swiglu_huber",
             lambda: nn.Sequential(nn.Linear(16, 48), *[nets.SwiGLU(48) for _ in range(3)],
                                   nn.Linear(48, 1)),
             _values(1, 30, tasks.huber), _adam(2e-3), (_SLOW, _BLIND)),
        Base("glu_log_cosh", lambda: nets.GLUs(16, 2), _values(2, 32, tasks.log_cosh), _adam(3e-3),
             (_SLOW, _TINY)),
        Base("mean_of_100", lambda: nets.mlp(16, 64, 64, 1),
             Task(tasks.mapped(_POINTS, _from_100), tasks.mse, tasks.explained), _adam(1e-2),
             (_SLOW, _DEAD), steps=200),
        Base("targets_in_10000s", lambda: nets.mlp(16, 64, 64, 1, act=nn.Softplus),
             Task(tasks.mapped(tasks.teacher_values(16, 1, 34), _in_10000s), tasks.mse,
                  tasks.explained), _adam(0.1), (_SLOW,), steps=200),
        Base("gaussian_nll", lambda: nets.mlp(16, 64, 64, 2, act=nn.SiLU),
             Task(tasks.teacher_values(16, 1, 36, 0.2), tasks.gaussian_nll, tasks.gaussian),
             _adam(3e-3), (_SLOW, _fast(1000))),
        Base("squared_relu_poisson", lambda: nets.mlp(8, 64, 64, 1, act=nets.SquaredReLU),
             Task(tasks.counts, tasks.poisson_nll, tasks.poisson), _adam(2e-3),
             (_BLIND, _LARGE)),
        Base("exp_units", lambda: nets.mlp(16, 32, 32, 1, act=nets.Exp),
             _values(1, 38, tasks.mse), _adam(2e-3), (_SLOW, _LARGE)),
        Base("bayes_by_backprop", bayes, _values(1, 42, tasks.bayes_by_backprop), _adam(5e-3),
             (_BLIND, _fast(1000))),
        Base("linear_net", lambda: nets.linear_net(16, 48, 48, 48, 1), _values(1, 44, tasks.mse),
             _sgd(0.01), (_SLOW, _LARGE)),
        Base("siren", nets.siren, Task(tasks.waves, tasks.mse, tasks.explained, 256), _adam(3e-4),
             (_SLOW, _fast(1000))),
        Base("lbfgs", lambda: nets.mlp(16, 32, 32, 1, act=nn.Tanh),
             Task(tasks.teacher_values(16, 1, 46), tasks.mse, tasks.explained, 256), _lbfgs(0.1),
             (_SLOW, _STUCK)),
        Base("physics_informed", lambda: nets.mlp(1, 32, 32, 32, 1, act=nn.Tanh),
             Task(tasks.collocation, tasks.physics, tasks.poisson_equation, 128), _adam(5e-3),
             (_SLOW, _STUCK), steps=200),
        Base("graph_convolution", lambda: nets.GraphNet(tasks.ring(), 4, 1),
             Task(tasks.graphs, tasks.mse, tasks.explained), _adam(5e-3), (_SLOW, _DEAD)),
        Base("matrix_factors", lambda: nets.MatrixFactors(60, 40, 4),
             Task(tasks.factors, tasks.mse, tasks.explained, 256), _adam(0.05), (_SLOW,)),
        Base("quantiles", lambda: nets.mlp(16, 64, 64, 3, act=nn.Hardswish),
             Task(tasks.teacher_values(16, 1, 48), tasks.pinball, tasks.median), _adam(3e-3),
             (_SLOW, _BLIND)),
        Base("snake_mse", lambda: nets.mlp(16, 64, 64, 64, 2, act=nets.ActivationSnake),
             _values(2, 50, tasks.mse), _rmsprop(1e-3), (_SLOW, _fast(1000), _LARGE)),
        Base("relu_10_mse", lambda: nets.plain((16, *[64] * 9, 1), nn.LeakyReLU, _HE),
             _values(1, 52, tasks.mse), _adam(5e-4), (_SIGMOID, _SMALL, _BRIGHT)),
    ]  # fmt: skip


def _sequence_models() -> list[Base]:
    return [
        Base("elman_cell", lambda: nets.Elman(4, 48, 2),
             Task(tasks.sequences, tasks.mse, tasks.explained), _adam(3e-3), (_SLOW, _BLIND)),
        Base("looped_tanh", lambda: nets.LoopedTanh(4, 48, 2),
             Task(tasks.sequences, tasks.huber, tasks.explained), _rmsprop(1e-3),
             (_STUCK, _fast(1000), _STEEP)),
        Base("gru_language", lambda: nets.RecurrentModel(nn.GRU, 12, 48),
             Task(tasks.chains(12, 17, 60), tasks.next_token, tasks.predicted, 48), _adam(5e-3),
             (_SLOW, _fast(1000))),
        Base("lstm_language", lambda: nets.RecurrentModel(nn.LSTM, 16, 48),
             Task(tasks.chains(16, 17, 64), tasks.next_token, tasks.predicted, 48), _adam(1e-2),
             (_SLOW,)),
        Base("transformer_language", lambda: nets.LanguageModel(12, 16, 48, False),
             Task(tasks.chains(12, 17, 68), tasks.next_token, tasks.predicted, 48), _adamw(3e-3),
             (_SLOW, _fast()), 15),
        Base("transformer_tied", lambda: nets.LanguageModel(20, 16, 48, True),
             Task(tasks.chains(20, 17, 72), tasks.next_token, tasks.predicted, 48), _adamw(3e-3),
             (_SLOW,), 15),
        Base("ctc", lambda: nets.ConvCTC(6, 6), Task(tasks.spelled, tasks.ctc, tasks.spelling),
             _adam(1e-2), (_SLOW,), steps=200),
    ]  # fmt: skip


def _representations() -> list[Base]:
    surface = tasks.low_dimensional
    flat_images = tasks.mapped(tasks.pictures, _flat)
    return [
        Base("dense_autoencoder", lambda: nets.mlp(768, 128, 24, 128, 768, act=nn.ELU),
             Task(flat_images, tasks.autoencoding, tasks.reconstructed), _adam(1e-3),
             (_SLOW, _TINY)),
        Base("conv_autoencoder", nets.conv_autoencoder,
             Task(tasks.pictures, tasks.autoencoding, tasks.reconstructed), _adam(2e-3),
             (_SLOW, _DEAD, _LARGE)),
        Base("vae", lambda: nets.VAE(32, 4), Task(surface(32, 4, 80), tasks.elbo,
             tasks.reconstructed), _adam(2e-3), (_SLOW, _DEAD)),
        Base("denoising_autoencoder", lambda: nets.mlp(48, 96, 16, 96, 48, act=nn.Mish),
             Task(surface(48, 5, 84), tasks.denoising, tasks.reconstructed), _adam(2e-3),
             (_SLOW, _fast(1000))),
        Base("top_k_autoencoder", lambda: nets.SparseAutoencoder(40, 128, 8),
             Task(surface(40, 5, 86), tasks.top_k, tasks.reconstructed), _adam(3e-3),
             (_SLOW, _DEAD)),
        Base("l1_autoencoder", lambda: nets.SparseAutoencoder(40, 128),
             Task(surface(40, 5, 88), tasks.sparse, tasks.reconstructed), _adam(2e-3),
             (_SLOW, _fast(1000))),
        Base("simclr", lambda: nets.Projected(nn.ReLU, 32),
             Task(tasks.views, tasks.nt_xent, tasks.told_apart), _adam(1e-3), (_DEAD,)),
        Base("cosine_embedding", lambda: nets.Projected(nn.GELU, 24, False),
             Task(tasks.views, tasks.cosine_embedding, tasks.told_apart), _adam(1e-3), (_STUCK,)),
        Base("triplet", lambda: nets.mlp(20, 64, 64, 16, act=nn.LeakyReLU),
             Task(tasks.teacher_classes(20, 3, 90), tasks.triplet, tasks.nearest_class),
             _adam(2e-3), (_TINY, _fast(1000))),
    ]  # fmt: skip


def _generators_and_agents() -> list[Base]:
    arms = Task(tasks.bandit, tasks.reinforce, tasks.reward)
    return [
        Base("unet_diffusion", nets.UNet,
             Task(tasks.pictures, tasks.noise_of_images, tasks.noise_of_images_explained, 16),
             _adam(2e-3), (_SLOW, _fast(1000))),
        Base("point_diffusion", lambda: nets.mlp(3, 96, 96, 96, 2, act=nn.SiLU),
             Task(tasks.moons, tasks.noise_of_points, tasks.noise_of_points_explained, 256),
             _adam(3e-3), (_SLOW, _TINY)),
        Base("real_nvp", nets.Flow2D, Task(tasks.moons, tasks.flow_nll, tasks.flow_density, 256),
             _adam(5e-3), (_SLOW, _fast(1000))),
        Base("dcgan", nets.Generative, Task(tasks.spots, tasks.mse, tasks.ringed), _gan_adam(2e-3),
             (_SLOW, _DEAD)),
        Base("q_bandit", lambda: nets.mlp(10, 64, 64, 5), Task(tasks.bandit, tasks.q_learning,
             tasks.reward), _adam(3e-3), (_SLOW, _DEAD)),
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
    if isinstance(net, nets.Generative):
        module = Adversaries(net, base, fault.lr)
    else:
        module = Stranger(net, base, fault.lr)

    def score(trained: LightningModule) -> float:
        torch.manual_seed(seed)  # some scores draw noise
        return held_out_score(base.task, net, seed, fault.inputs)

    return module, Batches(base.task, seed, fault.blind, fault.inputs), score
