"""The statistics of the suites' tables: shares, balanced accuracy, calibration, and intervals.

All intervals are of 95 %. Nothing here knows runs, verdicts or tools.
"""

from __future__ import annotations

import math
import random
import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Interval = tuple[float, float]
_SAMPLES = 2000


def balanced_accuracy(truth: Sequence[str], answers: Sequence[str]) -> float:
    """Return the mean recall over the classes that occur."""
    hits = Counter(t for t, a in zip(truth, answers, strict=True) if t == a)
    return statistics.mean(hits[kind] / n for kind, n in Counter(truth).items())


def wilson(hits: int, n: int) -> Interval:
    """Return the interval of a share of `hits` in `n`: Wilson 1927."""
    if n == 0:
        return 0.0, 1.0
    z, p = 1.959964, hits / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(middle - half, 0.0), min(middle + half, 1.0)  # rounding may exceed 0 or 1


def share(hits: int, n: int) -> str:
    """Return a share as text, with Wilson's interval; "-" if n is 0."""
    if n == 0:
        return "-"
    low, high = wilson(hits, n)
    return f"{hits}/{n} = {hits / n:.3f} ({low:.3f} to {high:.3f})"


def bootstrap(n: int, statistic: Callable[[NDArray[np.int64]], float]) -> Interval:
    """Return the percentile interval of a statistic of `n` items: Efron 1979.

    `statistic` gets the indices of the items of a resample.
    """
    source = np.random.default_rng(0)
    values = [statistic(source.integers(n, size=n)) for _ in range(_SAMPLES)]
    return _middle(values)


def stratified_bootstrap(truth: Sequence[str], answers: Sequence[str]) -> Interval:
    """Return the percentile interval of balanced accuracy, resampled within each class."""
    draw = random.Random(0)
    classes: dict[str, list[str]] = {}
    for t, v in zip(truth, answers, strict=True):
        classes.setdefault(t, []).append(v)
    values = sorted(
        statistics.mean(
            sum(v == kind for v in draw.choices(group, k=len(group))) / len(group)
            for kind, group in classes.items()
        )
        for _ in range(_SAMPLES)
    )
    return values[int(0.025 * _SAMPLES)], values[int(0.975 * _SAMPLES)]


class Bin(NamedTuple):
    """Answers of similar confidence."""

    size: int
    confidence: float  # mean
    right: float  # share


def reliability(confidence: Sequence[float], right: Sequence[bool], bins: int = 5) -> list[Bin]:
    """Return bins of equal count, by rising confidence; fewer if there are fewer answers."""
    stated, hit = np.asarray(confidence, float), np.asarray(right, float)
    order = np.argsort(stated, kind="stable")
    return [
        Bin(len(part), float(stated[part].mean()), float(hit[part].mean()))
        for part in np.array_split(order, bins)
        if len(part)
    ]


def calibration_error(confidence: Sequence[float], right: Sequence[bool], bins: int = 5) -> float:
    """Return the expected calibration error: Naeini et al. 2015, with bins of equal count."""
    found = reliability(confidence, right, bins)
    total = sum(b.size for b in found)
    return sum(b.size / total * abs(b.right - b.confidence) for b in found)


def calibration_interval(confidence: Sequence[float], right: Sequence[bool]) -> Interval:
    """Return the bootstrap interval of the calibration error."""
    stated, hit = np.asarray(confidence, float), np.asarray(right, bool)
    return bootstrap(
        len(stated),
        lambda chosen: calibration_error(stated[chosen], hit[chosen]),  # type: ignore[arg-type]
    )


def calibrated_error(confidence: Sequence[float]) -> tuple[float, Interval]:
    """Return the calibration error of an ideal: each answer is right with its own confidence.

    Its mean and its range of 95 % tell what chance alone does to an error over so few answers.
    """
    source = np.random.default_rng(0)
    stated = np.asarray(confidence, float)
    errors = [
        calibration_error(
            stated,  # type: ignore[arg-type]
            source.random(len(stated)) < stated,  # type: ignore[arg-type]
        )
        for _ in range(_SAMPLES)
    ]
    return statistics.mean(errors), _middle(errors)


def _middle(values: Sequence[float]) -> Interval:
    low, high = np.percentile(values, (2.5, 97.5))
    return float(low), float(high)
