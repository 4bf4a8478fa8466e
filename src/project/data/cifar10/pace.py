"""Detect stalled and slow transfers from the number of bytes received."""

import time
from collections.abc import Callable
from typing import NamedTuple

from gradflow.errors import DataError


class TooSlowError(DataError):
    """A source delivers less than the configured rate; `rate` is in bytes per second."""

    def __init__(self, rate: float, min_rate: float) -> None:
        super().__init__(f"slow: {rate / 1000:.0f} kB/s, under min_rate={min_rate / 1000:g} kB/s")
        self.rate = rate


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
