"""The phase diagram of an activation: where gradients of a plain net vanish and where they explode.

sigma_w^2 is the x axis, sigma_b^2 the y axis. The area has the colours of mean-field theory in the
limit of depth. The points are nets that were built and measured, in the same colours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from torch import nn

from lab.probe.measure import measure
from lab.probe.run import first_batch, new_net
from lab.theory.mean_field import Moments, mean_field
from project.config import Config

_COLOUR_LIMIT = 0.25  # decades per layer at the ends of the colour scale


@dataclass(frozen=True)
class Point:
    """One net: its variances, and the decades per layer by which dL/dz grows to the input."""

    weight_variance: float
    bias_variance: float
    slope: float


def measure_points(
    config: Config, weight_variances: Sequence[float], bias_variances: Sequence[float]
) -> list[Point]:
    """Probe the net of `config` with `init=gaussian` at every pair of variances."""
    images, labels = first_batch(config)
    points = []
    for weight_variance in weight_variances:
        for bias_variance in bias_variances:
            init = {
                "_target_": "project.models.initializers.gaussian",
                "weight_variance": weight_variance,
                "bias_variance": bias_variance,
            }
            net = new_net(config.model_copy(update={"init": init}))
            flow = measure(net, images, labels)
            # The median ignores the two layers of another width, at the stages' ends.
            slope = -float(np.median(np.diff(flow.gradient[:-1])))
            points.append(Point(weight_variance, bias_variance, slope))
    return points


def draw_phase_diagram(
    activation: nn.Module,
    points: Sequence[Point],
    title: str,
    path: Path,
    *,
    cells: int = 32,
) -> None:
    """Draw theory and points to `path`, as PNG, SVG or PDF by its ending."""
    moments = Moments(activation)
    right = max(point.weight_variance for point in points) * 1.1
    top = max(point.bias_variance for point in points) * 1.15
    w = np.linspace(right / cells, right, cells)
    b = np.linspace(0, top, cells)
    slopes = np.array([[mean_field(moments, x, y).slope for x in w] for y in b])

    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    axes = figure.subplots()
    scale = Normalize(-_COLOUR_LIMIT, _COLOUR_LIMIT)
    colours = ScalarMappable(scale, "PuOr_r")
    axes.pcolormesh(w, b, slopes, shading="gouraud", cmap=colours.cmap, norm=scale)
    if slopes.min() < 0 < slopes.max():
        line = axes.contour(w, b, slopes, levels=[0.0], colors="black", linewidths=1.6)
        axes.clabel(line, fmt={0.0: r"$\chi_1 = 1$"}, fontsize=9)
    axes.scatter(
        [point.weight_variance for point in points],
        [point.bias_variance for point in points],
        c=[point.slope for point in points],
        edgecolors="black",
        linewidths=0.9,
        s=70,
        cmap=colours.cmap,
        norm=scale,
    )
    axes.set_xlim(w[0], right)
    axes.set_ylim(-0.04 * top, top)
    axes.set_xlabel(r"weight variance $\sigma_w^2$")
    axes.set_ylabel(r"bias variance $\sigma_b^2$")
    axes.set_title(title, loc="left", fontsize=10)
    bar = figure.colorbar(colours, ax=axes, extend="both")
    bar.set_label("decades per layer, to the input:\n< 0 vanishes, > 0 explodes")
    figure.text(0.01, -0.03, "area: theory for infinite depth; points: measured nets", fontsize=8)
    figure.savefig(path, dpi=160, bbox_inches="tight")
