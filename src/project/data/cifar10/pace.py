"""Detect stalled and slow transfers from the number of bytes received."""

import time
from collections.abc import Callable
from typing import NamedTuple

from gradflow.errors import DataError
from project.data.cifar10.errors import TooSlowError


class Limits(NamedTuple):
    """Limits on a source's transfer."""

    min_rate: float  # bytes per second, over each interval of `timeout` s; 0: no limit
    timeout: float  # seconds without a byte


class Pace:
    """Watch one transfer, which begins when the object is created."""

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._clock = clock
        self._changed = self._since = clock()
        self._total = self._total_then = 0

    def update(self, total: int) -> None:
        """Note the bytes so far. DataError if the transfer stalls, TooSlowError if it is slow."""
        now = self._clock()
        if total != self._total:
            self._changed, self._total = now, total
        elif now - self._changed >= self._limits.timeout:
            raise stalled(self._limits)
        elapsed = now - self._since
        if elapsed >= self._limits.timeout:
            rate = (total - self._total_then) / elapsed
            if rate < self._limits.min_rate:
                raise TooSlowError(rate, self._limits.min_rate)
            self._since, self._total_then = now, total


def stalled(limits: Limits) -> DataError:
    """Return the error for a stalled transfer."""
    return DataError(f"stalled: no bytes for {limits.timeout:g} s")
