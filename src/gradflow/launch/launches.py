"""A launch of a study: what became of each of its jobs, in one small file a job.

    multirun/<study>/.launches/<launch>/<job>.json

The jobs of a launch run in many processes, on many machines under a cluster's launcher. So each
writes its own file, whole, and no file is written by two. What the launch has to tell at its end
is read from them, and leans neither on clocks nor on the records of other launches.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import secrets
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Literal

from gradflow.gradients.atomic import write_text
from gradflow.runs.processes import is_alive

FOLDER = ".launches"
VARIABLE = "GRADFLOW_LAUNCH"  # in a job's environment: the folder of the launch that it belongs to

State = Literal[
    "begun",  # and not ended, or its process ended before it could say so
    "finished",
    "stopped",  # before its last step, by its verdict
    "skipped",  # finished by an earlier launch
    "left",  # to another process, which computes the same run
    "failed",
    "refused",  # its configuration
    "died",  # its process did
    "interrupted",
    "deferred",  # until all others are done: it was cut off when an earlier launch died
]


@dataclass(frozen=True)
class Job:
    """One job of a launch: its run's folder, its name, and what became of it."""

    number: int
    folder: str
    name: str
    state: State = "begun"
    text: str = ""  # the figures of a finished job, the reason of any other end
    tries: int = 1
    host: str = field(default_factory=platform.node)
    process: int | None = None  # that computes it

    @property
    def is_open(self) -> bool:
        """Whether it has no end yet, or died."""
        return self.state in ("begun", "died", "deferred")

    @property
    def is_lost(self) -> bool:
        """Whether the launch has failed because of it."""
        return self.state in ("begun", "died", "failed", "refused", "interrupted")


class Launch:
    """The records of one launch, in the folder `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def new(cls, study: Path) -> Launch:
        """Make the records' folder below the study's."""
        name = f"{datetime.now():%Y-%m-%d_%H-%M-%S}-{secrets.token_hex(3)}"
        launch = cls(study.resolve() / FOLDER / name)
        launch.path.mkdir(parents=True)
        return launch

    @classmethod
    def of_this_process(cls, study: Path) -> Launch:
        """Return the launch that the environment names, or a new one below `study`."""
        named = os.environ.get(VARIABLE)
        return cls(Path(named)) if named else cls.new(study)

    def write(self, job: Job) -> None:
        """Replace the job's record."""
        write_text(self.path / f"{job.number}.json", json.dumps(asdict(job)) + "\n")

    def job(self, number: int) -> Job | None:
        """Return the record of a job; None if it has not begun."""
        with contextlib.suppress(OSError, ValueError, TypeError):
            return Job(**json.loads((self.path / f"{number}.json").read_bytes()))
        return None

    def jobs(self) -> list[Job]:
        """Return the records of the jobs that have begun, by number."""
        numbers = sorted(int(path.stem) for path in self.path.glob("[0-9]*.json"))
        return [job for number in numbers if (job := self.job(number)) is not None]

    def stop(self, reason: str) -> None:
        """Let no further job begin."""
        write_text(self.path / "stop", reason + "\n")

    @property
    def is_stopped(self) -> bool:
        """Whether no further job may begin."""
        return (self.path / "stop").exists()

    @property
    def why_stopped(self) -> str:
        """The reason given to `stop`."""
        return (self.path / "stop").read_text().strip()

    def begin_second_pass(self) -> None:
        """What died is tried once more from now on, and what was deferred once."""
        for job in self.jobs():
            if job.state == "begun":  # the process died that would have said so
                self.write(replace(job, state="died", text="its process was killed"))
        (self.path / "second").touch()

    @property
    def is_second_pass(self) -> bool:
        """Whether all jobs have been tried, but for those that died or were deferred."""
        return (self.path / "second").exists()

    def running(self) -> list[Job]:
        """Return the jobs that a living process of this machine computes."""
        here = platform.node()
        return [
            job
            for job in self.jobs()
            if job.state == "begun" and job.host == here and job.process and is_alive(job.process)
        ]
