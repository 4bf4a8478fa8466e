"""The process that computes a study's jobs, which may die alone.

A job that runs out of memory is killed by the system, together with the process it runs in. So the
process in which Hydra's launcher calls a job keeps a second one beside it, which computes this job
and those that follow, and is replaced once it has died. All jobs after the first find torch and
Lightning imported. The process follows its parent: if that dies, the job is saved and ended.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import configure_log
from omegaconf import OmegaConf

from gradflow.errors import ConfigError
from gradflow.launch import devices
from gradflow.launch.launches import Job, Launch
from gradflow.launch.plugins import register
from gradflow.launch.requeue import saved_first
from gradflow.training import slurm

_LOOK_SECONDS = 1.0  # between two looks at whether the other process is alive


@dataclass(frozen=True)
class Task:
    """What the process needs to compute one job; the configurations are plain data."""

    launch: Launch
    job: Job
    composed: Mapping[str, Any]
    hydra: Mapping[str, Any]
    environment: Mapping[str, str]
    working_directory: str
    path: list[str]


def task(launch: Launch, job: Job, composed: Mapping[str, Any]) -> Task:
    """Return the task of the job that Hydra runs in this process."""
    hydra: Any = OmegaConf.to_container(HydraConfig.get(), resolve=True, enum_to_str=True)
    environment = {**os.environ}
    if (jobs := hydra["launcher"].get("n_jobs")) is not None:  # times threads: the cores
        environment.setdefault("OMP_NUM_THREADS", str(max(1, cores() // jobs) if jobs > 0 else 1))
    return Task(launch, job, composed, hydra, environment, str(Path.cwd()), sys.path)


def cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def compute(task: Task) -> Job:
    """Compute a job in this process's own job process, and return its record.

    ConfigError if the job wants more GPUs than there are.
    """
    global _process
    _leave_requeueing_to_the_launcher()
    jobs_per_gpu = task.composed.get("jobs_per_gpu", 1)
    if type(jobs_per_gpu) is not int or jobs_per_gpu < 1:
        raise ConfigError(f"jobs_per_gpu={jobs_per_gpu}: must be a whole number over 0")
    places = (_gpus_wanted(task.composed["trainer"]), jobs_per_gpu)
    if _process is not None and (_process.places != places or not _process.is_alive):
        _process.close()
        _process = None
    if _process is None:
        _process = JobProcess(places, task.environment)
    return _process.compute(task)


def _gpus_wanted(trainer: Mapping[str, Any]) -> int:
    if trainer["accelerator"] == "cpu":
        return 0
    wanted = trainer["devices"]
    if isinstance(wanted, int) and wanted >= 0:
        return wanted
    # -1 means all that there are, and so does auto where a run takes several.
    several = wanted == -1 or "ddp" in str(trainer["strategy"])
    return len(devices.visible_gpus()) if several else 1


def _leave_requeueing_to_the_launcher() -> None:
    """Let Slurm's signals not kill a launcher's worker: they are for the launcher, and the job."""
    for number in slurm.signals_to_requeue() if _is_worker() else ():
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, signal.SIG_IGN)


def _is_worker() -> bool:
    return multiprocessing.current_process().name != "MainProcess"


def _end_without_launcher() -> None:
    """End this process if it is a launcher's worker and the launcher is gone."""
    if _is_worker() and os.getppid() != _PARENT:
        os._exit(128 + signal.SIGTERM)  # an exception would only end the job


class JobProcess:
    """One process that computes jobs, one after the other, with places on GPUs where it wants any.

    It takes them when it starts, since CUDA reads the visible devices once. `places` are the number
    of GPUs and the jobs that may share each.
    """

    def __init__(self, places: tuple[int, int], environment: Mapping[str, str]) -> None:
        self.places = places
        self._devices = devices.take(*places, while_waiting=_end_without_launcher)
        _end_without_launcher()
        self._connection, theirs = multiprocessing.Pipe()
        # Closed by the system when this process dies.
        lifeline, self._lifeline = os.pipe()
        code = "import sys; from gradflow.launch.job_process import serve; serve(*sys.argv[1:])"
        passed = (theirs.fileno(), lifeline)
        # It takes Ctrl-C once it can.
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", code, *map(str, passed)],
                env={**environment, **self._devices.variables},
                pass_fds=passed,
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        theirs.close()
        os.close(lifeline)

    @property
    def is_alive(self) -> bool:
        """Whether it can compute another job."""
        return self._process.poll() is None

    def compute(self, task: Task) -> Job:
        """Compute a job. If the process dies, the record says how."""
        job = replace(task.job, process=self._process.pid)
        task.launch.write(job)
        environment = {**task.environment, **self._devices.variables}
        with suppress(OSError):  # it has died
            self._connection.send(replace(task, job=job, environment=environment))
        with saved_first(self._process):
            self._wait()
        try:
            ended: Job = self._connection.recv()
        except (EOFError, OSError):
            ended = replace(job, state="died", text=_how_it_died(self._process.wait()))
            task.launch.write(ended)
        if ended.state == "interrupted":  # then it computes no other
            self._process.wait()
        return ended

    def close(self) -> None:
        """Let the process end, and free its places."""
        self._connection.close()
        os.close(self._lifeline)
        self._process.wait()
        self._devices.release()

    def _wait(self) -> None:
        """Wait for the answer, or the end. In a launcher's worker, do not outlive the launcher."""
        while not self._connection.poll(_LOOK_SECONDS):
            # A process of the job's own, such as one that loads data, may hold its end open.
            if not self.is_alive and not self._connection.poll():
                self._connection.close()
                return
            if _is_worker() and os.getppid() != _PARENT:
                self._process.terminate()
                self._process.wait()
                _end_without_launcher()


_process: JobProcess | None = None
_PARENT = os.getppid()


def _how_it_died(status: int) -> str:
    if status >= 0:
        return f"its process ended itself with status {status}"
    name = signal.Signals(-status).name
    return f"its process was killed ({name})" + ("; out of memory?" if status == -9 else "")


def serve(connection: str, lifeline: str) -> None:
    """Compute jobs in this process until the parent ends, or one job is interrupted."""
    for number in (signal.SIGTERM, *slurm.signals_to_requeue()):
        signal.signal(number, _exit_with_signal)
    threading.Thread(target=_follow_parent, args=(int(lifeline),), daemon=True).start()
    register()
    tasks = Connection(int(connection))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    interrupted = False
    while True:
        try:
            task = tasks.recv()
        except (EOFError, OSError):
            return
        except KeyboardInterrupt:  # of all processes of a terminal: a task may be on its way
            interrupted = True
            continue
        if interrupted:
            ended = replace(task.job, state="interrupted", text="Ctrl-C")
            task.launch.write(ended)
        else:
            ended = _compute_here(task)
        tasks.send(ended)
        if ended.state == "interrupted":
            return


def _compute_here(task: Task) -> Job:
    os.environ.clear()
    os.environ.update(task.environment)
    os.environ["TTY_COMPATIBLE"] = "0"  # rich: the terminal belongs to the study's own display
    os.chdir(task.working_directory)
    sys.path[:] = task.path
    hydra: Any = OmegaConf.create({"hydra": dict(task.hydra)})
    HydraConfig.instance().cfg = hydra
    configure_log(hydra.hydra.job_logging, hydra.hydra.verbose)
    _keep_off_the_terminal()
    try:
        from gradflow.launch.study_job import run_here

        ended = run_here(OmegaConf.create(dict(task.composed)), task.job)
    except KeyboardInterrupt:
        ended = replace(task.job, state="interrupted", text="Ctrl-C")
    except SystemExit as stop:
        if isinstance(stop.code, int) and stop.code > 128:
            name = signal.Signals(stop.code - 128).name
            ended = replace(task.job, state="interrupted", text=name)
        else:
            ended = replace(task.job, state="failed", text=f"it called sys.exit({stop.code!r})")
    task.launch.write(ended)
    return ended


def _keep_off_the_terminal() -> None:
    """Leave to the study what becomes of a job, and progress to its log; warnings are shown."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler) and not isinstance(
            handler, logging.FileHandler
        ):
            handler.addFilter(
                lambda record: (
                    record.levelno >= logging.WARNING and record.name != "gradflow.launch.study_job"
                )
            )


def _exit_with_signal(number: int, frame: Any) -> None:
    sys.exit(128 + number)


def _follow_parent(lifeline: int) -> None:
    os.read(lifeline, 1)  # returns when the parent is gone
    os.kill(os.getpid(), signal.SIGTERM)
