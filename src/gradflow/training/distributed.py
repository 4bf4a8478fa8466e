"""Data-parallel training: start the other processes of a run, and end all of them together.

Lightning's `ddp` starts the other processes with the command line of the first. With `-m`, that
would launch the whole multirun again. Here they get the run's folder instead, and read its
config.yaml. What they print goes to `rank_1.log` and so on, in that folder.

A process that raises writes its reason to the folder. A thread in each process looks for that, and
for processes that have died, so that no process waits for another one that will never answer.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from signal import SIG_BLOCK, SIG_SETMASK, SIGINT, Signals, pthread_sigmask
from typing import Any

import torch.distributed
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.strategies.launchers.subprocess_script import _SubprocessScriptLauncher
from torch._C._distributed_c10d import TCPStore

from gradflow.errors import RankError
from gradflow.gradients.atomic import write_text
from gradflow.runs import config
from gradflow.runs.files import FAILED_RANK, RANK_LOG
from gradflow.training import ranks
from gradflow.training.checkpoints import AtomicCheckpointIO

# Lightning's names of the strategies that start processes by a command line, and their value of
# `find_unused_parameters`.
_DDP = {
    "ddp": False,
    "ddp_find_unused_parameters_false": False,
    "ddp_find_unused_parameters_true": True,
}
_ADDRESS = ("MASTER_ADDR", "MASTER_PORT")
_LOOK_SECONDS = 0.25
# A process whose neighbour is gone gets an error from most backends; NCCL would wait for minutes.
_ERROR_SECONDS = 10.0
_EXIT_SECONDS = 60.0  # for the others to end after the last step


def hardware(trainer: config.Trainer, folder: Path) -> dict[str, Any]:
    """Return the arguments of Lightning's Trainer for `trainer`, for a run in `folder`.

    The cluster's environment is among them: left to itself, Lightning would take the variables of a
    Slurm job for orders, in an evaluation by one process too, and its signals for its own.
    """
    values: dict[str, Any] = dict(trainer)
    if is_alone(trainer):
        return values | {"plugins": [AtomicCheckpointIO(), LightningEnvironment()]}
    devices, name = ranks.local_processes(trainer), trainer.strategy
    if name == "auto" and (trainer.num_nodes > 1 or _count(trainer.accelerator, devices) > 1):
        name = "ddp"  # as Lightning would choose, but started by this file
    strategy = _RunDDP(folder, _DDP[name]) if name in _DDP else name
    plugins = [AtomicCheckpointIO(), ranks.cluster()]
    return values | {"devices": devices, "strategy": strategy, "plugins": plugins}


def is_alone(trainer: config.Trainer) -> bool:
    """Return whether `trainer` means one process, whatever the machine has."""
    return (trainer.devices, trainer.num_nodes, trainer.strategy) == (1, 1, "auto")


def threads_per_process(trainer: config.Trainer) -> int:
    """Return how many threads of torch's each of this machine's processes should have.

    ConfigError if torchrun or srun has started more or fewer processes than `trainer` says.
    """
    count = _count(trainer.accelerator, ranks.local_processes(trainer))
    return max(torch.get_num_threads() // count, 1)


def leave_process_group() -> None:
    """Destroy the process group and forget its address, for the next run in this process."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    if not (ranks.started_from_outside() or ranks.WORKER in os.environ):
        for name in _ADDRESS:
            os.environ.pop(name, None)


class Processes:
    """The processes of a data-parallel run, as one of them sees them.

    `abandon(error)` is called in a thread if this process has to end while its main thread waits
    for a process that is gone; afterwards this process ends.
    """

    def __init__(
        self, trainer: Trainer, folder: Path, abandon: Callable[[RankError], None]
    ) -> None:
        self._rank = trainer.global_rank
        self._strategy = trainer.strategy
        self._folder = folder
        self._abandon = abandon
        self._parent = os.getppid()
        self._over = threading.Event()
        if self._rank == 0:
            (folder / FAILED_RANK).unlink(missing_ok=True)
        if trainer.world_size > 1:
            threading.Thread(target=self._watch, daemon=True, name="gradflow-ranks").start()

    def reason(self, error: BaseException) -> RankError:
        """Return why the run ends, where `error` is how this process learned of it.

        A process that failed by itself tells the others.
        """
        lost = self._lost()
        if _is_of_another(error):
            deadline = time.monotonic() + _ERROR_SECONDS
            while lost is None and time.monotonic() < deadline:
                time.sleep(_LOOK_SECONDS)
                lost = self._lost()
            text = " ".join(str(error).split())[:200]
            return lost or RankError(f"rank {self._rank}: lost another process: {text}")
        if lost is not None:
            return lost
        last = f"{type(error).__name__}: {error}".splitlines()[0].removesuffix(": ")
        log = self._folder / RANK_LOG.format(self._rank)
        with log.open("a", encoding="utf-8") as file:
            file.write("".join(traceback.format_exception(error)))
        reason = f"rank {self._rank}: {last}; its traceback: {log}"
        write_text(self._folder / FAILED_RANK, json.dumps(reason))
        return RankError(reason)

    def join(self) -> None:
        """Wait for the processes that this one has started. RankError if one has failed."""
        deadline = time.monotonic() + _EXIT_SECONDS
        for process in self._started():
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(deadline - time.monotonic(), 0))
        lost = self._lost()
        self.end()
        if lost is not None:
            raise lost

    def end(self) -> None:
        """Stop watching, and kill the processes that this one has started."""
        self._over.set()
        for process in self._started():
            process.kill()
            process.wait()
        for log in self._folder.glob(RANK_LOG.format("*")):
            if log.stat().st_size == 0:
                log.unlink(missing_ok=True)

    def _watch(self) -> None:
        lost = None
        while lost is None:
            if self._over.wait(_LOOK_SECONDS):
                return
            lost = self._lost()
        if self._rank == 0 and self._over.wait(_ERROR_SECONDS):
            return
        if self._rank == 0:
            self._abandon(lost)
            self.end()
        os._exit(1)

    def _lost(self) -> RankError | None:
        """Return which process has failed, and why; None if none has."""
        if ranks.WORKER in os.environ and os.getppid() != self._parent:
            return RankError("rank 0: has ended")
        for rank, process in enumerate(self._started(), start=1):
            if (code := process.poll()) is not None and code < 0:
                return RankError(f"rank {rank}: killed by {Signals(-code).name}")
        with suppress(OSError, ValueError):
            return RankError(json.loads((self._folder / FAILED_RANK).read_bytes()))
        for rank, process in enumerate(self._started(), start=1):
            if process.returncode:
                log = self._folder / RANK_LOG.format(rank)
                return RankError(f"rank {rank}: ended with status {process.returncode}; see {log}")
        return None

    def _started(self) -> list[subprocess.Popen[bytes]]:
        launcher = self._strategy.launcher
        return launcher.procs if isinstance(launcher, _Launcher) else []


def _is_of_another(error: BaseException) -> bool:
    """Whether an error says that another process does not answer; gloo has no type for that."""
    return isinstance(error, torch.distributed.DistError) or (
        isinstance(error, RuntimeError) and ("gloo" in str(error) or "by peer" in str(error))
    )


def _count(accelerator: str, devices: int | str) -> int:
    if devices != "auto":
        return int(devices)
    return max(torch.cuda.device_count(), 1) if accelerator in ("auto", "gpu", "cuda") else 1


class _RunDDP(DDPStrategy):
    def __init__(self, folder: Path, find_unused: bool) -> None:
        super().__init__(find_unused_parameters=find_unused)
        self._folder = folder

    def _configure_launcher(self) -> None:
        assert self.cluster_environment is not None
        self._launcher = _Launcher(
            self.cluster_environment, self.num_processes, self.num_nodes, self._folder
        )


@contextmanager
def _ctrl_c_blocked() -> Iterator[None]:
    """Hold Ctrl-C back, so that a process that starts in the block can ignore it in time."""
    before = pthread_sigmask(SIG_BLOCK, {SIGINT})
    try:
        yield
    finally:
        pthread_sigmask(SIG_SETMASK, before)


class _Launcher(_SubprocessScriptLauncher):
    """Starts the other processes of this machine, if nothing else has; others watch them."""

    def __init__(self, environment: Any, processes: int, nodes: int, folder: Path) -> None:
        super().__init__(environment, processes, nodes)
        self._folder = folder

    def launch(
        self, function: Callable[..., Any], *args: Any, trainer: Any = None, **kwargs: Any
    ) -> Any:
        if not self.cluster_environment.creates_processes_externally:
            self._call_children_scripts()
        return function(*args, **kwargs)

    def _call_children_scripts(self) -> None:
        self._check_can_spawn_children()
        environment = self.cluster_environment
        if self.num_nodes == 1:
            # The system chooses the port, so that two runs cannot choose the same one.
            self._store = TCPStore(
                "127.0.0.1", 0, is_master=True, wait_for_workers=False, multi_tenant=True
            )
            os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(self._store.port)}
        variables = os.environ | {
            "MASTER_ADDR": environment.main_address,
            "MASTER_PORT": str(environment.main_port),
            "NODE_RANK": str(environment.node_rank()),
            ranks.WORKER: "1",
        }
        command = [sys.executable, "-m", "gradflow.training.worker", str(self._folder)]
        for local_rank in range(1, self.num_processes):
            rank = environment.node_rank() * self.num_processes + local_rank
            with (self._folder / RANK_LOG.format(rank)).open("ab") as output, _ctrl_c_blocked():
                process = subprocess.Popen(
                    command,
                    env=variables | {"LOCAL_RANK": str(local_rank)},
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                )
            self.procs.append(process)
