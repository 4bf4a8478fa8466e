"""Jobs that a cluster's launcher calls again: after a time limit, a preemption, a lost machine.

submitit queues a job again when its process gets a signal. The process that computes the job is
another one here, so the signal goes there first, and submitit acts once the run is saved.
"""

from __future__ import annotations

import inspect
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig

_SIGNALS = (signal.SIGUSR1, signal.SIGUSR2)


@contextmanager
def saved_first(process: subprocess.Popen[Any]) -> Iterator[None]:
    """In the block, let `process` save and end before this one obeys a launcher's signal."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    # submitit's handlers are methods; without them the signals keep their own meaning.
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    before = {n: handler for n, handler in handlers.items() if inspect.ismethod(handler)}
    for number, handler in before.items():
        signal.signal(number, _after(process, handler))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _after(process: subprocess.Popen[Any], handler: Callable[..., Any]) -> Callable[..., None]:
    def receive(number: int, frame: FrameType | None) -> None:
        # Slurm sends its signal to both processes; to a run on Slurm it means the same twice.
        process.send_signal(number if "SLURM_JOB_ID" in os.environ else signal.SIGTERM)
        process.wait()
        handler(number, frame)

    return receive


def wait_for_all(config: DictConfig) -> None:
    """Let submitit's launcher wait for all jobs before it fails over one that was lost."""
    if "submitit" not in str(config.hydra.launcher._target_):
        return
    from submitit import Job

    original: Callable[[Any], list[Any]] = getattr(Job.results, "original", Job.results)

    def results(job: Any) -> list[Any]:
        try:
            return original(job)
        except Exception as error:
            return [JobReturn(status=JobStatus.FAILED, _return_value=error)]

    results.original = original  # type: ignore[attr-defined]
    Job.results = results  # type: ignore[method-assign, assignment]
