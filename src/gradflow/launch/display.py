"""A study's progress: on a terminal its running jobs, otherwise a line a minute.

It reads the launch's records and the runs' folders, so it is the same for every launcher: the jobs
may run in this process, in others, or on other machines.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from gradflow.errors import ConfigError
from gradflow.gradients.verdict import Verdict
from gradflow.launch.launches import Job, Launch
from gradflow.runs.config import read_config
from gradflow.runs.files import CONFIG
from gradflow.runs.status import Status

_LOOK_SECONDS = 1.0
_LINE_SECONDS = 60.0
_WORDS = {"finished": "done", "skipped": "done before"}


class Display:
    """Follow the `total` jobs of a launch (None: unknown) in a thread, from `start` to `stop`."""

    def __init__(self, launch: Launch, total: int | None) -> None:
        self._launch, self._total = launch, total
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._live = Live(console=self._console, transient=True, auto_refresh=False)
        # Jobs whose end has been told of, each with the try; in a second pass, the first ends too.
        self._told = {(job.number, job.tries) for job in launch.jobs() if _has_ended(job)}
        self._began = self._told_at = time.monotonic()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def start(self) -> None:
        """Begin to show."""
        if self._console.is_terminal:
            self._live.start()
        self._thread.start()

    def stop(self) -> None:
        """Show what has ended since, and leave the terminal."""
        self._ended.set()
        self._thread.join()
        with suppress(OSError):
            self._look()
            self._live.stop()

    def _follow(self) -> None:
        while not self._ended.wait(_LOOK_SECONDS):
            with suppress(OSError):  # the terminal is gone
                self._look()

    def _look(self) -> None:
        jobs = self._launch.jobs()
        for job in jobs:
            if _has_ended(job) and (job.number, job.tries) not in self._told:
                self._told.add((job.number, job.tries))
                self._console.print(Text(_ended(job)))
        if self._console.is_terminal:
            self._live.update(self._shown(jobs), refresh=True)
        elif time.monotonic() - self._told_at >= _LINE_SECONDS:
            self._told_at = time.monotonic()
            running = [f"{job.name} {_where(job)}" for job in jobs if job.state == "begun"]
            self._console.print(Text("; ".join([self._counts(jobs), *running])))

    def _shown(self, jobs: list[Job]) -> Table:
        table = Table.grid(padding=(0, 2))
        for job in jobs:
            if job.state == "begun":
                table.add_row(Text(job.name), Text(_where(job)))
        table.add_row(Text(self._counts(jobs)))
        return table

    def _counts(self, jobs: list[Job]) -> str:
        counts = Counter(_WORDS.get(job.state, job.state) for job in jobs if job.state != "begun")
        closed = [job for job in jobs if not job.is_open]
        of = "" if self._total is None else f" of {self._total}"
        words = [f"{len(closed)}{of} jobs", *(f"{n} {state}" for state, n in counts.items())]
        computed = sum(job.state in ("finished", "stopped", "failed") for job in jobs)
        if self._total is not None and computed:
            left = (time.monotonic() - self._began) / computed * (self._total - len(closed))
            words.append(f"about {_duration(left)} left")
        return ", ".join(words)


def _has_ended(job: Job) -> bool:
    return job.state not in ("begun", "deferred")


def _ended(job: Job) -> str:
    if job.state == "finished":
        return f"{job.name}: {job.text}"
    text = f": {job.text}" if job.text else ""
    return f"{job.name}: {_WORDS.get(job.state, job.state)}{text}"


def _where(job: Job) -> str:
    """Return a running job's step and its verdict so far, as far as its folder tells."""
    folder = Path(job.folder)
    status = Status.read(folder)
    if status is None or status.state != "running":
        return "starts"
    verdict = Verdict.read(folder)
    return f"step {status.steps} of {_steps(folder)}" + (f"  {verdict.kind}" if verdict else "")


@lru_cache(maxsize=256)
def _steps(folder: Path) -> int | str:
    try:
        return int(read_config(folder / CONFIG)["steps"])
    except (ConfigError, KeyError, ValueError):
        return "?"


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 1:
        return "a minute"
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.0f} h"
