"""One job per GPU: each process that computes jobs takes a place on one, by a file lock.

The places are shared by all launches of a user on a machine, or in one Slurm job. All of them must
name GPUs alike in CUDA_VISIBLE_DEVICES, by number or by UUID.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout

from gradflow.errors import ConfigError

VISIBLE = "CUDA_VISIBLE_DEVICES"
_RETRY_SECONDS = 1.0


@dataclass(frozen=True)
class Devices:
    """Places on GPUs, or none: the variables of the process that has them, and their locks."""

    variables: dict[str, str] = field(default_factory=dict)
    locks: tuple[FileLock, ...] = ()

    def release(self) -> None:
        """Leave the places to other processes."""
        for lock in self.locks:
            lock.release()


def take(
    count: int,
    jobs_per_gpu: int,
    folder: Path | None = None,
    while_waiting: Callable[[], None] = lambda: None,
) -> Devices:
    """Wait for a free place on each of `count` visible GPUs, and take them.

    A GPU has `jobs_per_gpu` places; the emptiest ones are taken first. ConfigError if there are
    fewer GPUs.
    """
    visible = visible_gpus()
    if not visible or count == 0:
        return Devices()
    if count > len(visible):
        raise ConfigError(f"trainer.devices={count}: a job sees {len(visible)} GPUs")
    where = os.environ.get("SLURM_JOB_ID", "machine")  # whose GPUs Slurm may number from 0
    folder = folder or Path(tempfile.gettempdir()) / f"gradflow-gpus-{os.getuid()}-{where}"
    folder.mkdir(exist_ok=True)
    while True:
        taken: dict[str, FileLock] = {}
        for place, gpu in itertools.product(range(jobs_per_gpu), visible):
            if gpu in taken or len(taken) == count:
                continue
            lock = FileLock(folder / f"{gpu.replace('/', '_')}.{place}.lock")
            with contextlib.suppress(Timeout):
                lock.acquire(blocking=False)
                taken[gpu] = lock
        devices = Devices({VISIBLE: ",".join(taken)}, tuple(taken.values()))
        if len(taken) == count:
            return devices
        devices.release()  # two jobs that wait for each other's would wait forever
        while_waiting()
        time.sleep(_RETRY_SECONDS)


def visible_gpus() -> Sequence[str]:
    """Return the GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them.

    Without the variable, all of the machine; torch is not asked, since that takes seconds to
    import.
    """
    if VISIBLE in os.environ:
        return [name for name in os.environ[VISIBLE].split(",") if name.strip() not in ("", "-1")]
    try:
        listed = subprocess.run(
            ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return listed.stdout.split()
