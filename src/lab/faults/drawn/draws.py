"""The drawn suite: runs drawn at random from a search space, none of them designed to be sick.

The space starts from the published search of BTTackler's CIFAR-10 task (KDD 2024): a sequential
CNN, its five activations, batch norm after the activation or none, dropout, optimizers, and a
log-uniform learning rate. What hand-made Keras and PyTorch nets also vary is added: depth, kernel
size, pooling, initialization, an l2 penalty, batch norm before the activation, and clipping.
Momentum replaces Adadelta, and learning rates reach from 1e-5 to 1 instead of 1e-4 to 0.4.

Reduced for a CPU: 8 to 32 channels, 16 to 128 dense units, batches of 16 to 256 instead of 45 to
720, a first convolution of stride 2, 150 steps. A draw above `_MAX_COST` is drawn again.

This file knows the settings. `net.py` builds the net, `causes.py` tells what is wrong.
"""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass
from functools import cache

STEPS = 150
# Each part has its own seeds. A seed decides the draw, the weights and the order of the batches.
PARTS = {"tuning": range(10_000, 10_200), "held_out": range(20_000, 20_300)}
ACTIVATIONS = ("relu", "leaky_relu", "elu", "tanh", "sigmoid")
OPTIMIZERS = ("sgd", "momentum", "adam", "rmsprop", "adagrad")
INITS = (
    *("he_normal", "he_uniform", "glorot_normal", "glorot_uniform"),
    *("lecun_normal", "lecun_uniform", "orthogonal", "torch_default"),
    # Keras' random_normal, random_uniform and truncated_normal with their default scale 0.05.
    *("normal_0.05", "uniform_0.05", "truncated_0.05", "normal_0.01", "normal_1"),
)
_MAX_COST = 1.5e8  # multiply-adds of one batch, forward: up to 5 s for a run


@dataclass(frozen=True)
class Draw:
    """All settings of one run."""

    part: str  # tuning or held_out
    seed: int
    channels: tuple[int, ...]  # of each convolution
    kernels: tuple[int, ...]  # its size
    pools: tuple[str, ...]  # after it: none, max, average
    head_pool: str  # before the dense layers: none, max, average
    hidden: tuple[int, ...]  # units of each dense layer but the last
    activation: str
    init: str
    norm: str  # none, or batch norm before or after each activation
    dropout: float  # before the last layer
    l2: float  # times the sum of squared weights, added to the loss
    optimizer: str
    lr: float
    batch_size: int
    clip: str  # none or norm: to norm 1

    @property
    def name(self) -> str:
        """The unique name of the run."""
        return f"{self.part}-{self.seed}"

    @property
    def settings(self) -> dict[str, str]:
        """Return all settings as text, for a table."""
        return {
            key: "-".join(map(str, value)) if isinstance(value, tuple) else str(value)
            for key, value in asdict(self).items()
        }


@cache
def draws() -> list[Draw]:
    """Return every run in random order, so that the first ones are a fair sample of both parts."""
    found = [draw(part, seed) for part, seeds in PARTS.items() for seed in seeds]
    random.Random(0).shuffle(found)
    return found


def draw(part: str, seed: int) -> Draw:
    """Draw the settings of one run."""
    source = random.Random(seed)
    while _cost(found := _draw(source, part, seed)) > _MAX_COST:
        pass
    return found


def _draw(source: random.Random, part: str, seed: int) -> Draw:
    convolutions, dense = source.randint(2, 8), source.randint(1, 6)
    pools, size = [], 16  # behind the first convolution
    for _ in range(convolutions):
        pool = source.choice(("none", "none", "max", "average")) if size > 2 else "none"
        size //= 1 if pool == "none" else 2
        pools.append(pool)
    return Draw(
        part=part,
        seed=seed,
        channels=tuple(source.choice((8, 8, 16, 16, 32)) for _ in range(convolutions)),
        kernels=tuple(source.choice((1, 3, 3, 5)) for _ in range(convolutions)),
        pools=tuple(pools),
        head_pool=source.choice(("none", "none", "max", "average")),
        hidden=tuple(source.choice((16, 32, 64, 128)) for _ in range(dense - 1)),
        activation=source.choice(ACTIVATIONS),
        init=source.choice(INITS),
        norm=source.choice(("none", "none", "before", "after")),
        dropout=source.choice((0.0, 0.0, 0.25, 0.5)),
        l2=source.choice((0.0, 0.0, 1e-4, 1e-3, 1e-2)),
        optimizer=source.choice(OPTIMIZERS),
        lr=float(f"{10 ** source.uniform(-5, 0):.3g}"),
        batch_size=source.choice((16, 32, 64, 128, 256)),
        clip=source.choice(("none", "norm")),
    )


def _cost(draw: Draw) -> float:
    """Return the multiply-adds of the convolutions in one forward pass of a batch."""
    side, fan, total = 16, 3, 0
    for channels, kernel, pool in zip(draw.channels, draw.kernels, draw.pools, strict=True):
        total += side**2 * channels * fan * kernel**2
        side, fan = side // (1 if pool == "none" else 2), channels
    return draw.batch_size * total
