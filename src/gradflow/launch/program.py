"""A program of studies, around Hydra's main: signals, and a second try for what died.

run_program(hydra.main(version_base="1.3", config_path=…, config_name=…)(job))
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from gradflow.launch import study
from gradflow.launch.cli import arranged
from gradflow.launch.launches import VARIABLE, Launch
from gradflow.launch.one_line import one_line
from gradflow.training import slurm
from gradflow.training.ranks import host
from gradflow.training.worker import follow

log = logging.getLogger(__name__)
_POLL_SECONDS = 0.2


def run_program(main: Callable[[], Any]) -> None:
    """Call Hydra's `main`. A study's dead and deferred jobs are tried once more at its end.

    The first SIGINT, SIGTERM, or signal of Slurm's lets no further job of a study begin, and is
    passed on to those that run, which save and end; the second ends all at once. However it ends,
    the study's table comes.
    """
    if follow():  # another process leads the run
        return
    host()
    with _signals_passed_on(), _reported():
        study.repeats = True
        try:
            main()
        except Exception as error:  # of the launcher, as when a worker of its own was killed
            if study.running is None or not study.running.launch.jobs():
                raise
            log.debug("the launcher failed", exc_info=True)
            print(f"the launcher failed: {one_line(error)}", file=sys.stderr)
            study.running.end_pass()
            study.running.launch.begin_second_pass()
        study.repeats = False
        if study.running is not None:
            with _arguments(study.running.words_to_repeat()):
                main()


@contextmanager
def _reported() -> Iterator[None]:
    """Report on a study that does not come to its end."""
    try:
        yield
    except BaseException as end:
        if study.running is not None:
            study.running.end_pass()
            study.running.report()
            stopped = isinstance(end, SystemExit) and isinstance(end.code, int) and end.code > 128
            if stopped or isinstance(end, KeyboardInterrupt):
                with suppress(OSError):  # the terminal is gone
                    print(f"interrupted; {study.running.how_to_continue}", file=sys.stderr)
        raise
    finally:
        study.running, study.repeats = None, False


@contextmanager
def _arguments(more: list[str]) -> Iterator[None]:
    before = sys.argv
    sys.argv = [before[0], *arranged([*before[1:], *more])]  # Hydra takes overrides in one piece
    try:
        yield
    finally:
        sys.argv = before


@contextmanager
def _signals_passed_on() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    names = [name for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    stop = _Stop()
    before = {
        number: signal.signal(number, stop)
        for number in (*map(signal.Signals.__getitem__, names), *slurm.signals_to_requeue())
        if signal.getsignal(number) != signal.SIG_IGN  # as under nohup
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Stop:
    """The handler: passes a signal on to the jobs of this machine, and waits until they end."""

    def __init__(self) -> None:
        self._received = False

    def __call__(self, number: int, frame: Any) -> None:
        first, self._received = not self._received, True
        if study.running is not None:
            self._stop(study.running.launch, number, waits=first)
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        sys.exit(128 + number)

    def _stop(self, launch: Launch, number: int, *, waits: bool) -> None:
        with suppress(OSError):  # a full disk
            launch.stop(signal.Signals(number).name)
        jobs = launch.running()
        for job in jobs:
            with suppress(OSError):  # it has ended by now
                os.kill(job.process or 0, number)
        if not waits:
            return
        if jobs:
            with suppress(OSError):  # the terminal is gone
                words = "running jobs save and end; once more ends them at once"
                print(f"{len(jobs)} {words}", file=sys.stderr)
        while launch.running():
            time.sleep(_POLL_SECONDS)
        # While this process calls a job, its environment is the job's.
        own = {name: value for name, value in os.environ.items() if name != VARIABLE}
        if slurm.asks_to_requeue([number], own):
            slurm.requeue()
