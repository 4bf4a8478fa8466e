"""Compare the theory's line with the mean over initializations, and its band with fresh ones.

For each net the line is drawn for infinite width. The table has its largest distance, over the
layers, from the mean of log10 RMS over the initializations: as it is, and after the shift by half
of the measured variance (`lab/theory/band.py`). The band runs from the least to the largest of 19
initializations; "inside" is the share of layers of further ones within it, where 0.9 is expected.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
from collections.abc import Sequence

import numpy as np

from lab.benchmarks.theory import POINTS, config_of, net_and_batch, overrides_of
from lab.theory.band import IMAGES, INITIALIZATIONS, Floats, band, ends, shift
from lab.theory.predict import predict
from project.build import build_data, build_net

LIMIT = 0.15  # decades: the goal for the shifted line
FRESH = 10  # further initializations


def main(argv: Sequence[str]) -> None:
    """Run the benchmark with command-line arguments `argv`, and print the table."""
    parser = argparse.ArgumentParser(prog="benchmark.py band", description=__doc__)
    parser.add_argument("--model", choices=("plain_cnn", "resnet"), default="plain_cnn")
    parser.add_argument("--depths", type=int, nargs="+", default=[20, 56])
    parser.add_argument("--widths", type=int, nargs="+", default=[16, 64])
    parser.add_argument("--data", default="cifar10", help="a file of conf/data")
    given = parser.parse_args(argv)
    print(
        f"model={given.model}, norm=none, init=gaussian, {given.data}, {IMAGES} images, "
        f"{INITIALIZATIONS} initializations and {FRESH} fresh ones.\n"
        "line, shifted: largest distance from the mean over initializations, decades.\n"
    )
    for depth, width in itertools.product(given.depths, given.widths):
        rows = []
        print(f"depth {depth}, width {width}")
        print(f"{'':28} z: line  shifted  inside   dL/dz: line  shifted  inside")
        for activation, points in POINTS.items():
            for weight_variance, bias_variance in points:
                point = (activation, weight_variance, bias_variance)
                overrides = overrides_of(given.model, depth, width, *point)
                row = distances(f"{overrides} model.stem_stride=2", given.data)
                rows.append(row)
                name = f"{activation.split()[0]} ({weight_variance}, {bias_variance})"
                z, gradient = row[:3], row[3:]
                print(
                    f"{name:28} {z[0]:7.2f} {z[1]:8.2f} {z[2]:7.2f}  {gradient[0]:11.2f} "
                    f"{gradient[1]:8.2f} {gradient[2]:7.2f}",
                    flush=True,
                )
        columns = list(zip(*rows, strict=True))
        within = [sum(value <= LIMIT for value in columns[i]) for i in (0, 1, 3, 4)]
        inside = [statistics.fmean(columns[i]) for i in (2, 5)]
        print(
            f"{f'of {len(rows)} within {LIMIT}; mean inside':28} {within[0]:7} {within[1]:8} "
            f"{inside[0]:7.2f}  {within[2]:11} {within[3]:8} {inside[1]:7.2f}\n",
            flush=True,
        )


def distances(overrides: str, data: str) -> tuple[float, float, float, float, float, float]:
    """Return, for z and then for dL/dz: the line's error, the shifted one's, the share inside."""
    config = config_of(overrides, data, IMAGES, 0)
    net, images, labels = net_and_batch(config)
    prediction = predict(net, images, labels)  # type: ignore[arg-type]
    module = build_data(config)
    seeds = range(1, 1 + INITIALIZATIONS + FRESH)
    found = band(lambda: build_net(config, module), images, labels, seeds)
    z = _errors(np.array(prediction.pre_activation), found.pre_activation[:, :-1])
    gradient = _errors(np.array(prediction.gradient)[:-1], found.gradient[:, :-1])
    return (*z, *gradient)


def _errors(line: Floats, profiles: Floats) -> tuple[float, float, float]:
    first, fresh = profiles[:INITIALIZATIONS], profiles[INITIALIZATIONS:]
    low, high = ends(first)
    inside = float(np.mean((low <= fresh) & (fresh <= high)))
    away = line - first.mean(axis=0)
    shifted = away + shift(first)
    return float(np.abs(away).max()), float(np.abs(shifted).max()), inside
