"""The error of a source that is too slow, so that another one is tried."""

from gradflow.errors import DataError


class TooSlowError(DataError):
    """A source delivers less than the configured rate; `rate` is in bytes per second."""

    def __init__(self, rate: float, min_rate: float) -> None:
        super().__init__(f"slow: {rate / 1000:.0f} kB/s, under min_rate={min_rate / 1000:g} kB/s")
        self.rate = rate
