"""The errors that fetching data can end in; each message is one line."""


class DataError(RuntimeError):
    """The data cannot be had, or is not what it says it is."""


class TooSlowError(DataError):
    """A source delivers less than the configured rate; `rate` is in bytes per second."""

    def __init__(self, rate: float, min_rate: float) -> None:
        super().__init__(f"slow: {rate / 1000:.0f} kB/s, under min_rate={min_rate / 1000:g} kB/s")
        self.rate = rate
