"""Mean-field theory of wide random nets: how fast a signal and its gradient grow or shrink.

Weights have variance sigma_w^2 / fan_in, biases sigma_b^2; phi is the nonlinearity. Then a
pre-activation z is normal with variance q. From one layer to the next q changes, and in the other
direction the squared gradient grows (Poole et al. 2016, arXiv:1606.05340; Schoenholz et al. 2017,
arXiv:1611.01232):

    q  <-  sigma_w^2 E[phi(z)^2] + sigma_b^2,        E[(dL/dz)^2]  grows by  sigma_w^2 E[phi'(z)^2]

This file knows one activation and its Gaussian integrals. `predict.py` knows nets.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

# The integrals run over t ~ N(0, 1) with z = sqrt(q) t, by the midpoint rule in log |t|, on either
# side of 0. A uniform step would miss tanh'(z), which at q = 1e10 is a peak of width 1e-5 in t. No
# node is at 0, where most kinks are.
_SMALLEST, _LARGEST = 1e-13, 12.0  # of |t|: the probability beyond is below 1e-13
_NODES = 2**14  # on each side; a jump of phi'^2 elsewhere costs at most 2e-4 of its height

# The table over q. Between its nodes log E is a cubic in log q; beyond its ends E is a power of q.
_LOG_Q = torch.linspace(math.log(1e-10), math.log(1e10), 201, dtype=torch.float64)
_STEP = float(_LOG_Q[1] - _LOG_Q[0])
_TINY = 1e-300  # stands for 0, whose logarithm could not be interpolated

# A net's own weights have their variance to float32's precision.
_CRITICAL = 1e-6  # a factor a layer with a smaller |ln| counts as 1
_FLAT = 1e-9  # a factor with a smaller |ln| counts as 1, since the quadrature is not exact


@torch.no_grad()
def gaussian_moments(activation: nn.Module, q: Tensor) -> Tensor:
    """Return E[phi], E[phi'], E[phi^2] and E[phi'^2] at z ~ N(0, q): float64 (4, N) for q (N,).

    phi is the activation in evaluation mode, in float64 on the CPU. Rectifiers with many slopes a,
    namely PReLU and RReLU in training mode, get the single slope sqrt(E[a^2]). This gives the two
    second moments exactly, but not E[phi] and E[phi'].

    Raises:
        ValueError: if the activation is not elementwise.
    """
    phi = single_function(activation)
    t, weights = _quadrature()
    moments = []
    for part in torch.split(q.double().cpu(), 16):
        with torch.enable_grad():
            z = (part.sqrt()[:, None] * t).requires_grad_()
            # z * 1: an in-place activation must not change a leaf. forward() calls no hooks.
            value = phi.forward(z * 1)
            if value.shape != z.shape:
                raise ValueError(f"an activation must be elementwise, but {activation} is not")
            (slope,) = torch.autograd.grad(value.sum(), z)
        value = value.detach()
        values = (value, slope, value**2, slope**2)
        moments.append(torch.stack([x @ weights for x in values]))
    return torch.cat(moments, dim=1)


def single_function(activation: nn.Module) -> nn.Module:
    """Return `activation` as `gaussian_moments` uses it: evaluation mode, float64, on the CPU.

    Many slopes are replaced by their root mean square, which has no sign.
    """
    if isinstance(activation, nn.PReLU):
        if activation.weight.numel() == 1:
            return nn.LeakyReLU(float(activation.weight))
        return nn.LeakyReLU(float(activation.weight.detach().double().square().mean().sqrt()))
    if isinstance(activation, nn.RReLU) and activation.training:
        a, b = activation.lower, activation.upper
        return nn.LeakyReLU(math.sqrt((a * a + a * b + b * b) / 3))
    return copy.deepcopy(activation).to(device="cpu", dtype=torch.float64).eval()


def _quadrature() -> tuple[Tensor, Tensor]:
    """Return nodes t and weights of the standard normal distribution, each (2 * _NODES,)."""
    step = math.log(_LARGEST / _SMALLEST) / _NODES
    u = math.log(_SMALLEST) + (torch.arange(_NODES, dtype=torch.float64) + 0.5) * step
    t = u.exp()
    weights = torch.exp(-0.5 * t**2) / math.sqrt(2 * math.pi) * t * step  # dt = t du
    return torch.cat([-t, t]), torch.cat([weights, weights])


class Moments:
    """Look up the moments of one activation for variances q, on the CPU.

    Building the table takes about half a second, reading it microseconds. Relative errors are below
    1e-5 for smooth activations and rectifiers, and below 1e-3 if phi' jumps at a z other than 0.
    Those of E[phi] and E[phi'] are relative to the roots of E[phi^2] and E[phi'^2].
    """

    def __init__(self, activation: nn.Module) -> None:
        """Fill the table. ValueError if the activation is not elementwise."""
        moments = gaussian_moments(activation, _LOG_Q.exp())
        first, second = moments[:2], moments[2:].clamp_min(_TINY)
        self._log_moments = second.log()
        # Means may be 0 or negative, so they have no logarithm; these ratios lie from -1 to 1.
        self._ratios = first / second.sqrt()

    def mean(self, q: Tensor) -> Tensor:
        """Return E[phi(z)] for z ~ N(0, q), in the shape of q, in float64."""
        return self._first_moment(0, q)

    def mean_slope(self, q: Tensor) -> Tensor:
        """Return E[phi'(z)] for z ~ N(0, q), in the shape of q, in float64."""
        return self._first_moment(1, q)

    def squared(self, q: Tensor) -> Tensor:
        """Return E[phi(z)^2] for z ~ N(0, q), in the shape of q, in float64."""
        return self._interpolate(0, q)

    def squared_slope(self, q: Tensor) -> Tensor:
        """Return E[phi'(z)^2] for z ~ N(0, q), in the shape of q, in float64."""
        return self._interpolate(1, q)

    @cached_property
    def ratio_if_homogeneous(self) -> float | None:
        """E[phi(z)^2] / q if it is the same for every q, as for rectifiers; else None."""
        log_ratio = self._log_moments[0] - _LOG_Q
        same = float((log_ratio - log_ratio[0]).abs().max()) < _FLAT
        return math.exp(float(log_ratio[0])) if same else None

    def _first_moment(self, which: int, q: Tensor) -> Tensor:
        inside = _position(q).clamp(0, len(_LOG_Q) - 1)
        return _cubic(self._ratios[which], inside) * self._interpolate(which, q).sqrt()

    def _interpolate(self, which: int, q: Tensor) -> Tensor:
        log_moment = self._log_moments[which]
        x = _position(q)
        inside = x.clamp(0, len(_LOG_Q) - 1)
        first_rise, last_rise = log_moment[1] - log_moment[0], log_moment[-1] - log_moment[-2]
        beyond = (x - inside) * torch.where(x < 0, first_rise, last_rise)
        return (_cubic(log_moment, inside) + beyond).exp()


def _position(q: Tensor) -> Tensor:
    """Return where q lies in the table, in nodes from the first; finite for 0 and inf too."""
    return (q.double().log().clamp(-700, 700) - float(_LOG_Q[0])) / _STEP


def _cubic(table: Tensor, inside: Tensor) -> Tensor:
    """Interpolate between the nodes of `table`, at positions from 0 to its last."""
    i = inside.long().clamp(1, len(table) - 3)  # the cubic runs through nodes i - 1 to i + 2
    s = inside - i
    below, here, above, next_above = (table[i + k] for k in (-1, 0, 1, 2))
    cubic: Tensor = (
        -s * (s - 1) * (s - 2) / 6 * below
        + (s + 1) * (s - 1) * (s - 2) / 2 * here
        - (s + 1) * s * (s - 2) / 2 * above
        + (s + 1) * s * (s - 1) / 6 * next_above
    )
    return cubic


@dataclass(frozen=True)
class MeanField:
    """The theory's limit for a deep net with one activation, sigma_w^2 and sigma_b^2.

    `fixed_point` is q*, the variance of z after many layers: 0 if the signal dies out, inf if it
    is unbounded, None if every q stays as it is. `chi_1` is sigma_w^2 E[phi'(z)^2] at q* (its
    limit if q* is 0 or inf; for None it is the same for every q).
    """

    weight_variance: float
    bias_variance: float
    fixed_point: float | None
    chi_1: float

    @property
    def slope(self) -> float:
        """Decades by which the RMS of dL/dz grows per layer, towards the input."""
        return 0.5 * math.log10(self.chi_1) if self.chi_1 > 0 else -math.inf

    @property
    def depth_scale(self) -> float:
        """Layers over which the squared gradient changes by a factor e; inf at chi_1 = 1."""
        if self.chi_1 == 0:
            return 0.0
        log_chi_1 = abs(math.log(self.chi_1))
        return math.inf if log_chi_1 < _CRITICAL else 1 / log_chi_1

    @property
    def trainable_depth(self) -> float:
        """Six depth scales: a guide, not a bound.

        Schoenholz et al. 2017 saw fully connected tanh nets train up to about 6 xi_c layers, where
        xi_c is the depth over which inputs lose their correlation; for chi_1 < 1 that is
        `depth_scale`.
        """
        return 6 * self.depth_scale

    def __str__(self) -> str:
        """Return it as one line."""
        q = self.fixed_point
        if q is None:
            fate = "every variance of z stays as it is"
        elif q == math.inf:
            fate = "no finite fixed point: the variance of z grows without bound"
        elif q == 0:
            fate = "the variance of z falls to 0"
        else:
            fate = f"the variance of z tends to {q:.4g}"
        if self.depth_scale == math.inf:
            gradient = "critical, gradients neither vanish nor explode"
        elif self.chi_1 == 0:
            gradient = "gradients are exactly 0 after one layer"
        else:
            word = "explode" if self.chi_1 > 1 else "vanish"
            gradient = f"gradients {word} by {abs(self.slope):.3g} decades per layer"
        return f"{fate}; chi_1 = {self.chi_1:.4g}: {gradient}"


def mean_field(
    moments: Moments, weight_variance: float, bias_variance: float, *, start: float = 1.0
) -> MeanField:
    """Find the fixed point that the variance of z reaches from q = `start`, and chi_1 there.

    If there are several fixed points, `start`, the first layer's variance, decides. (GELU with
    2 < sigma_w^2 < 4 goes to 0 from a small q, and to infinity from a large one.)

    Raises:
        ValueError: if a variance is negative or not finite, or sigma_w^2 or `start` is 0.
    """
    for name, value in (("weight_variance", weight_variance), ("start", start)):
        if not 0 < value < math.inf:
            raise ValueError(f"{name} must be positive and finite, got {value}")
    if not 0 <= bias_variance < math.inf:
        raise ValueError(f"bias_variance must be at least 0 and finite, got {bias_variance}")
    ratio = moments.ratio_if_homogeneous
    if ratio is not None:
        # phi(c z) = c phi(z) for c > 0, so q <- growth q + sigma_b^2 has a closed form.
        growth = weight_variance * ratio
        q = _limit_of_line(growth, bias_variance)
        chi_1 = weight_variance * float(moments.squared_slope(torch.tensor(1.0)))
        return MeanField(weight_variance, bias_variance, q, chi_1)
    q = _limit_from(moments, weight_variance, bias_variance, start)
    within = min(max(q, math.exp(_LOG_Q[0])), math.exp(_LOG_Q[-1]))  # limits for 0, inf
    slope = float(moments.squared_slope(torch.tensor(within, dtype=torch.float64)))
    return MeanField(weight_variance, bias_variance, q, weight_variance * slope)


def _limit_of_line(growth: float, added: float) -> float | None:
    """Return the limit of q <- growth q + added; None if every q stays as it is."""
    if abs(math.log(growth)) < _CRITICAL:
        return None if added == 0 else math.inf
    return math.inf if growth > 1 else added / (1 - growth)


def _limit_from(moments: Moments, weight_variance: float, bias_variance: float, q: float) -> float:
    """Return the limit of the variance map's iterates from q.

    The map increases with q, so its iterates move one way, up to the first fixed point.
    """

    def rise(log_q: Tensor) -> Tensor:
        new = weight_variance * moments.squared(log_q.exp()) + bias_variance
        return new.log() - log_q

    start = torch.tensor([math.log(q)], dtype=torch.float64)
    up = float(rise(start)) > 0
    path = _LOG_Q[start < _LOG_Q] if up else _LOG_Q[start > _LOG_Q].flip(0)
    path = torch.cat([start, path])
    for _ in range(6):  # each pass is 64 times as fine
        turned = (rise(path) <= 0 if up else rise(path) >= 0).nonzero()
        if len(turned) == 0:
            return math.inf if up else 0.0
        first = max(int(turned[0]), 1)
        path = torch.linspace(float(path[first - 1]), float(path[first]), 65, dtype=torch.float64)
    return math.exp(float(path.mean()))
