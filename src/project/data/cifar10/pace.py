"""Whether a transfer stands still, or is too slow: judged from the bytes that have arrived."""

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
    """What a source must keep to."""

    min_rate: float  # bytes per second, over each stretch of `timeout` seconds; 0 for any
    timeout: float  # seconds without a byte


class Pace:
    """Watches one transfer, which begins when this is made."""

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._clock = clock
        self._changed = self._since = clock()
        self._total = self._total_then = 0

    def update(self, total: int) -> None:
        """Take the bytes so far; DataError when it stands still, TooSlowError when it crawls."""
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
    """Return the error of a transfer that stands still."""
    return DataError(f"stalled: no bytes for {limits.timeout:g} s")
