"""Compare mean-field predictions of gradient profiles with nets measured at initialization.

The table has the largest difference between predicted and measured log10 RMS over the layers, of z
and of dL/dz. Nothing is fitted, not even the level.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gradflow.launch.compose import compose
from gradflow.launch.instantiate import instantiate
from lab.probe.measure import measure
from lab.theory.mean_field import Moments, mean_field
from lab.theory.predict import predict
from project.build import build_data, build_net
from project.config import Config

# sigma_w^2 and sigma_b^2: mostly one that vanishes, one at or near criticality, one with bias.
POINTS: dict[str, list[tuple[float, float]]] = {
    "relu": [(1, 0), (2, 0), (2, 0.1)],
    "leaky_relu activation.negative_slope=0.2": [(1, 0), (1.923, 0), (2.5, 0.1)],
    "tanh": [(1, 0), (1.5, 0.05), (3, 0.1)],
    "sigmoid": [(1, 0), (4, 0.1), (12, 0)],
    "selu": [(1, 0), (0.8, 0.1), (1.5, 0)],
    "gelu": [(1, 0), (2, 0), (2, 0.2)],
}
# Batch norm removes the scale of the weights, and its convolutions have no bias.
POINTS_OF_BATCH_NORM = {activation: [(2.0, 0.0)] for activation in POINTS}
Profile = tuple[list[float], list[float]]  # log10 RMS of z (without the logits), and of dL/dz


def overrides_of(
    model: str,
    depth: int,
    width: int,
    activation: str,
    weight_variance: float,
    bias_variance: float,
    norm: str = "none",
) -> str:
    """Return the overrides of a net at one of the `POINTS`."""
    return (
        f"model={model} model.depth={depth} model.width={width} norm={norm} "
        f"activation={activation} init=gaussian init.weight_variance={weight_variance} "
        f"init.bias_variance={bias_variance}"
    )


def config_of(overrides: str, data: str, batch_size: int, seed: int) -> Config:
    """Compose a configuration from overrides, separated by blanks."""
    common = f"data={data} data.batch_size={batch_size} seed={seed}"
    config: Config = compose([*common.split(), *overrides.split()])
    return config


def net_and_batch(config: Config) -> tuple[nn.Module, Tensor, Tensor]:
    """Build the net and the first batch that a run of `config` would begin with."""
    data = build_data(config)
    images, labels = next(iter(data.train_dataloader()))
    torch.manual_seed(config.seed)
    return build_net(config, data), images, labels


def differences(config: Config) -> tuple[Profile, tuple[float, float]]:
    """Return predicted minus measured by layer, and decades of dL/dz, first over last, of both."""
    net, images, labels = net_and_batch(config)
    prediction = predict(net, images, labels)  # type: ignore[arg-type]
    flow = measure(net, images, labels)
    assert prediction.layers == flow.layers
    z, gradient = flow.pre_activation.tolist()[:-1], flow.gradient.tolist()
    pairs = ((prediction.pre_activation, z), (prediction.gradient, gradient))
    errors = tuple([p - m for p, m in zip(*pair, strict=True)] for pair in pairs)
    spans = (prediction.gradient[0] - prediction.gradient[-1], gradient[0] - gradient[-1])
    return (errors[0], errors[1]), spans


def largest(profiles: Sequence[Sequence[float]]) -> tuple[float, float]:
    """Return the largest error of the seeds' mean, and of any single seed."""
    mean = [statistics.fmean(layer) for layer in zip(*profiles, strict=True)]
    single = [error for profile in profiles for error in profile]
    return max(map(abs, mean)), max(map(abs, single))


def row(*cells: object) -> str:
    """Align the cells of the table."""
    widths = (5, -12, 9, 9, 9, 11, 10, 9, 9, 9, 9)
    return " ".join(
        f"{cell:<{-width}}" if width < 0 else f"{cell:>{width}}"
        for cell, width in zip(cells, widths, strict=True)
    )


def print_table(
    model: str,
    norm: str,
    depths: list[int],
    width: int,
    stem_stride: int,
    seeds: int,
    data: str,
    batch_size: int,
) -> None:
    """Measure every net, and print a row for each."""
    print(
        f"model={model} of width {width}, norm={norm}, model.stem_stride={stem_stride}, "
        f"init=gaussian, {data}, batch {batch_size}, {seeds} seeds; all in decades.\n"
        "slope: of dL/dz per layer, at the fixed point, without borders. first/last: of dL/dz, "
        "mean over seeds.\nz and dL/dz: the largest error over the layers, of the mean over seeds, "
        "and of the worst seed.\n"
    )
    print(row("", "", "", "", "", "first/last", "first/last", "z", "z", "dL/dz", "dL/dz"))
    names = ("depth", "activation", "sigma_w^2", "sigma_b^2", "slope", "predicted", "measured")
    print(row(*names, "mean", "worst", "mean", "worst"))
    every_point = POINTS if norm == "none" else POINTS_OF_BATCH_NORM
    for depth in depths:
        for activation, points in every_point.items():
            for weight_variance, bias_variance in points:
                point = (activation, weight_variance, bias_variance)
                overrides = overrides_of(model, depth, width, *point, norm)
                overrides += f" model.stem_stride={stem_stride}"
                configs = [config_of(overrides, data, batch_size, seed) for seed in range(seeds)]
                profiles, spans = zip(*(differences(config) for config in configs), strict=True)
                slope = math.nan  # it is not the same in every layer
                if model == "plain_cnn" and norm == "none":
                    moments = Moments(instantiate(configs[0].activation, key="activation"))
                    slope = mean_field(moments, weight_variance, bias_variance).slope
                span = (statistics.fmean(column) for column in zip(*spans, strict=True))
                errors = [largest(profile) for profile in zip(*profiles, strict=True)]
                decades = (slope, *span, *errors[0], *errors[1])
                cells = (depth, activation.split()[0], weight_variance, bias_variance)
                print(
                    row(*cells, *("-" if math.isnan(x) else f"{x:z.3f}" for x in decades)),
                    flush=True,
                )


def main(argv: Sequence[str]) -> None:
    """Run the benchmark with command-line arguments `argv`, and print the table."""
    parser = argparse.ArgumentParser(prog="benchmark.py theory", description=__doc__)
    parser.add_argument("--model", choices=("plain_cnn", "resnet"), default="plain_cnn")
    parser.add_argument("--norm", choices=("none", "batch"), default="none")
    parser.add_argument("--depths", type=int, nargs="+", default=[20, 56])
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--stem-stride", type=int, choices=(1, 2), default=1)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--data", default="cifar10", help="a file of conf/data")
    given = parser.parse_args(argv)
    rest = (given.width, given.stem_stride, given.seeds, given.data, given.batch_size)
    print_table(given.model, given.norm, given.depths, *rest)
