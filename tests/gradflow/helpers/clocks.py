"""A clock for tests of what is done by time."""


class Clock:
    """Stands in for the module `time`: it moves on by `seconds` whenever it is read."""

    def __init__(self, seconds: float) -> None:
        self._now, self._seconds = 0.0, seconds

    def monotonic(self) -> float:
        self._now += self._seconds
        return self._now
