"""Put a Slurm job back into the queue, and know its name from the environment.

Slurm sends a signal before the time limit (`--signal=USR1@120`) and SIGTERM at it. SIGTERM is also
what `scancel` sends: a job that was cancelled is not put back, so the time decides. Under submitit
this file does nothing: submitit puts its jobs back itself.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence

log = logging.getLogger(__name__)

REQUEUE_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGUSR1", "SIGUSR2") if hasattr(signal, name)
)
_CLOCKS_DIFFER = 60.0  # seconds, at most, between the controller and this node


def job_id() -> str | None:
    """Return the id that `scontrol` takes, `<job>` or `<array>_<task>`; None outside of Slurm."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    if array and task:
        return f"{array}_{task}"
    return os.environ.get("SLURM_JOB_ID") or None


def batch_job_id() -> str | None:
    """Return the id of a job that Slurm may start again; None in an interactive session."""
    is_interactive = os.environ.get("SLURM_JOB_NAME") in ("bash", "interactive")
    return None if is_interactive else job_id()


def signals_to_requeue() -> Sequence[int]:
    """Return the signals that may mean it in this environment; none outside of Slurm."""
    return REQUEUE_SIGNALS if job_id() else ()


def asks_to_requeue(received: Sequence[int], environment: Mapping[str, str]) -> bool:
    """Return whether these signals tell a job of this environment to go back into the queue."""
    others = ("SUBMITIT_", "GRADFLOW_LAUNCH")  # submitit does it, or the launch of a whole study
    if job_id() is None or any(name.startswith(others) for name in environment):
        return False
    if any(number in REQUEUE_SIGNALS for number in received):
        return True
    end = environment.get("SLURM_JOB_END_TIME", "")  # seconds since 1970
    is_over = end.isdecimal() and time.time() > int(end) - _CLOCKS_DIFFER
    return is_over and signal.SIGTERM in received


def requeue() -> None:
    """Put this job back into the queue; log a line that says whether it worked."""
    command = ["scontrol", "requeue", str(job_id())]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        failure = done.stderr.strip() or f"exit status {done.returncode}"
        failed = done.returncode != 0
    except (OSError, subprocess.TimeoutExpired) as error:
        failed, failure = True, str(error)
    if failed:
        log.warning("%s: %s; submit the job again to continue", " ".join(command), failure)
    else:
        log.info("Slurm job %s is in the queue again and will continue", job_id())
