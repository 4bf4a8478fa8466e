"""What the usual text claims of gradients, measured in new nets before their first step.

Each case is a net by its words. `docs/textbook.md` sets the figures beside the claims.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gradflow.launch.compose import compose
from gradflow.launch.instantiate import instantiate
from lab.probe.measure import measure
from lab.probe.run import first_batch, new_net

FAR = 5.0  # |z| "well over 5" is where the text says that sigmoid and tanh saturate
BATCH = "data.batch_size=64"

CASES: dict[str, tuple[str, ...]] = {
    "sigmoid, He": ("pathology=vanishing",),
    "sigmoid, PyTorch's default": ("pathology=vanishing", "init=default"),
    "sigmoid, Glorot": ("pathology=vanishing", "remedy=xavier"),
    "sigmoid, weights 20 times He's": ("pathology=saturated_sigmoid",),
    "tanh, PyTorch's default": ("pathology=vanishing_init",),
    "tanh, Glorot": ("pathology=vanishing_init", "remedy=xavier"),
    "tanh, weights 20 times LeCun's": ("pathology=saturated_tanh",),
    "ReLU, PyTorch's default": ("pathology=vanishing_init", "remedy=relu"),
    "ReLU, He": ("pathology=vanishing", "remedy=[relu,kaiming]"),
    "ReLU, twice He's": ("pathology=large_weights",),
    "ReLU, 56 layers, Glorot": ("pathology=vanishing", "remedy=[relu,xavier]", "model.depth=56"),
    "ReLU, 56 layers, He": ("pathology=vanishing", "remedy=[relu,kaiming]", "model.depth=56"),
    "plain, 56 layers, batch norm": ("pathology=degradation",),
    "ResNet, 56 layers, batch norm": ("pathology=degradation", "remedy=resnet"),
    "ResNet, 56 layers, no norm": ("pathology=unnormalized_resnet", "model.depth=56"),
}
CLIPS = ("none", "norm", "value", "agc")


@dataclass(frozen=True)
class Start:
    """One net before its first step, over one batch. Decades are log10."""

    loss: float
    far: float  # share of all z, but the logits, with |z| > FAR
    signal: float  # RMS of z, the last hidden layer's over the first's, decades
    gradient: float  # RMS of dL/dz, the first layer's over the last hidden one's, decades
    weights: float  # RMS of dL/dw, the first convolution's over the last's, decades
    smallest: float  # the smallest RMS of dL/dw of a convolution, decades


def starts(words: Iterable[str], seeds: Iterable[int]) -> list[Start]:
    """Measure the net of `words` for each seed.

    Raises:
        ConfigError: if the words cannot be run.
        DataError: if the data cannot be loaded.
    """
    return [_start([*words, BATCH, f"seed={seed}"]) for seed in seeds]


def _start(words: list[str]) -> Start:
    config = compose(words)
    images, labels = first_batch(config)
    net = new_net(config)
    flow = measure(net, images, labels)
    z, gradient = flow.pre_activation[:-1], flow.gradient[:-1]
    weights = _weight_gradients(net)
    return Start(
        loss=flow.loss if flow.loss is not None else math.nan,
        far=_share_far(net, flow.layers[:-1], images),
        signal=float(z[-1] - z[0]),
        gradient=float(gradient[0] - gradient[-1]),
        weights=weights[0] - weights[-1],
        smallest=min(weights),
    )


def _weight_gradients(net: nn.Module) -> list[float]:
    """Return log10 RMS of dL/dw of each convolution, input to output."""
    found = [m.weight.grad for m in net.modules() if isinstance(m, nn.Conv2d)]
    return [
        float(gradient.double().square().mean().sqrt().log10())
        for gradient in found
        if gradient is not None
    ]


@torch.no_grad()
def _share_far(net: nn.Module, layers: list[str], images: Tensor) -> float:
    counts: list[tuple[int, int]] = []

    def count(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        counts.append((int((inputs[0].abs() > FAR).sum()), inputs[0].numel()))

    hooks = [net.get_submodule(name).register_forward_pre_hook(count) for name in layers]
    net(images)
    for hook in hooks:
        hook.remove()
    return sum(far for far, _ in counts) / sum(total for _, total in counts)


def clipped(words: Iterable[str], seeds: Iterable[int]) -> dict[str, list[float]]:
    """Return, for each way of clipping, dL/dw of the first convolution over the last's, decades.

    The gradient is that of the first batch; `words` choose the net.
    """
    found: dict[str, list[float]] = {}
    for seed in seeds:
        for clip in CLIPS:
            config = compose([*words, BATCH, f"seed={seed}", f"clip={clip}"])
            images, labels = first_batch(config)
            net = new_net(config)
            loss = F.cross_entropy(net(images), labels)
            loss.backward()  # type: ignore[no-untyped-call]
            instantiate(config.clip, key="clip")(net)
            weights = _weight_gradients(net)
            found.setdefault(clip, []).append(weights[0] - weights[-1])
    return found
