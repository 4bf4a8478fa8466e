"""End a run at a signal: after the present step, or at once if no step is under way.

The first signal is a request. While a run trains, it is noted, and the training asks for it when a
step is complete (see `checkpoints.py`). Otherwise it raises `Stopped` where it arrives. A later one
raises at once; after that, signals do again what they did before. Nobody but Python's main thread
receives signals: in another thread, `Signals` does nothing.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Self

from gradflow.training import slurm

_STOPS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
# Ctrl-C reaches all processes of a terminal, and a launcher may pass it on: one request, twice.
_SAME_REQUEST = 1.0  # seconds


class Stopped(SystemExit):
    """A signal has ended the run. `code` is the exit status of the process, 128 + signal."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.signal = signal.Signals(number)


class Signals:
    """Handlers for the signals that end a run; a context that restores the earlier ones.

    `received` has the signals so far, in order. `waits` says whether the first one is only noted.
    Ignored signals stay ignored, as under `nohup`.
    """

    def __init__(self) -> None:
        self.received: list[int] = []
        self.waits = False
        self.are_handled = False
        self._earlier: dict[int, Any] = {}
        self._first_at = 0.0

    def __enter__(self) -> Self:
        if threading.current_thread() is not threading.main_thread():
            return self
        self.are_handled = True
        for number in (*_STOPS, *slurm.signals_to_requeue()):
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                self._earlier[number] = signal.signal(number, self._receive)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Restore the earlier handlers; one that is a function gets the signal, too."""
        earlier = self._earlier
        self._restore()
        if isinstance(error, Stopped):
            handler = earlier.get(error.signal)
            # SIG_DFL is an enum that can be called, too.
            if callable(handler) and handler not in (signal.SIG_DFL, signal.default_int_handler):
                handler(error.signal, None)

    def raise_if_received(self) -> None:
        """Raise Stopped if there was a signal."""
        if self.received:
            raise Stopped(self.received[0])

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Note the first signal instead of raising, in the block."""
        before, self.waits = self.waits, True
        try:
            yield
        finally:
            self.waits = before

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.received.append(number)
        if len(self.received) == 1:
            self._first_at = time.monotonic()
            if not self.waits:
                self.raise_if_received()
        elif number in _STOPS and time.monotonic() - self._first_at > _SAME_REQUEST:
            self._restore()  # a third one ends the process, whatever it is doing
            self.raise_if_received()

    def _restore(self) -> None:
        for number, handler in self._earlier.items():
            signal.signal(number, handler)
        self._earlier = {}
