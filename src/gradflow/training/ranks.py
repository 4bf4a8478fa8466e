"""Which process of a data-parallel run this is, and how the first one tells the others of the run.

The processes of a run may have been started by its first process (distributed.py) or from outside:
by torchrun, by `srun --ntasks`, or by hand on each node, with NODE_RANK, MASTER_ADDR and
MASTER_PORT set. Only the first process of all claims the run's folder and writes to it. Processes
that were started from outside get the folder from it, through a store at MASTER_ADDR:MASTER_PORT.
"""

from __future__ import annotations

import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradflow.errors import ConfigError

if TYPE_CHECKING:  # these take seconds to import
    from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
    from torch.distributed.distributed_c10d import Store

    from gradflow.runs.config import Trainer

WORKER = "GRADFLOW_WORKER"  # set in processes that the first process of a run has started
_KEY = "gradflow/folder"
_JOINING = timedelta(minutes=5)  # between the starts of two processes of one run
_WAITING = timedelta(days=1)  # while the first process gets the data; ends if that process does

_hosted: Store | None = None  # the first process keeps the store for the others


def started_from_outside() -> bool:
    """Whether something other than gradflow has started the processes of this run."""
    return WORKER not in os.environ and (_by_torchrun() or _by_srun() or _by_hand())


def is_first_process() -> bool:
    """Return whether this process has rank 0 of all nodes; it writes the run's files."""
    if _by_torchrun():
        return os.environ["RANK"] == "0"
    if _by_srun():
        return os.environ["SLURM_PROCID"] == "0"
    return os.environ.get("LOCAL_RANK", "0") == "0" and os.environ.get("NODE_RANK", "0") == "0"


def local_processes(trainer: Trainer) -> int | str:
    """Return how many processes of the run this machine has: `devices`, as Lightning takes it.

    `auto` means all that torchrun or srun has started here; otherwise all devices.

    Raises:
        ConfigError: if something else was started than `trainer` says.
    """
    if _by_torchrun():
        launcher, here, all_ = "torchrun", "LOCAL_WORLD_SIZE", "WORLD_SIZE"
    elif _by_srun():
        launcher, here, all_ = "srun", "SLURM_NTASKS_PER_NODE", "SLURM_STEP_NUM_TASKS"
    else:
        return trainer.devices
    started = int(os.environ[all_])
    devices = trainer.devices
    if devices == "auto":
        devices = int(os.environ.get(here, started // trainer.num_nodes))
    if devices * trainer.num_nodes != started:
        raise ConfigError(
            f"trainer.devices={devices} trainer.num_nodes={trainer.num_nodes}: {launcher} has "
            f"started {started} processes; allowed: as many as devices times nodes, and trainer=ddp"
        )
    return devices


def cluster() -> ClusterEnvironment:
    """Return what tells Lightning the ranks and addresses of this run's processes."""
    from lightning.fabric.plugins.environments.lightning import LightningEnvironment
    from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
    from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment

    if _by_torchrun():
        return TorchElasticEnvironment()
    if not _by_srun():
        return LightningEnvironment()

    class Srun(SLURMEnvironment):
        """The tasks of one `srun`, with or without --ntasks-per-node."""

        _validate_srun_variables = staticmethod(lambda: None)

        def world_size(self) -> int:
            return int(os.environ["SLURM_STEP_NUM_TASKS"])

        def validate_settings(self, num_devices: int, num_nodes: int) -> None:
            """Do nothing; `local_processes` has compared them."""

    return Srun(auto_requeue=False)


def host() -> None:
    """Open the store in which the other processes find the run, in the first process of them."""
    global _hosted
    if _hosted is None and started_from_outside() and is_first_process():
        _hosted = _store()


def announce(folder: Path | None) -> None:
    """Tell the processes that were started from outside of the run's folder; None for no run."""
    if _hosted is not None and not _hosted.check([_KEY]):
        _hosted.set(_KEY, str(folder or ""))


def announced() -> Path | None:
    """Wait until the first process has begun the run; return its folder, None for no run.

    Ends this process if the first one has ended.
    """
    import torch.distributed

    try:
        store = _store()
        store.set_timeout(_WAITING)
        folder: str = store.get(_KEY).decode()
    except torch.distributed.DistError:
        sys.exit(1)  # the first process says why
    return Path(folder) if folder else None


def _store() -> Any:
    from torch._C._distributed_c10d import PrefixStore, TCPStore

    environment = cluster()
    served = _by_torchrun() and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    store = TCPStore(
        environment.main_address,
        environment.main_port,
        is_master=is_first_process() and not served,
        timeout=_JOINING,
        wait_for_workers=False,
        multi_tenant=True,  # the process group's store will be the same server
    )
    # torchrun keeps its store when it starts the processes again.
    return PrefixStore(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"), store)


def _by_torchrun() -> bool:
    return "TORCHELASTIC_RUN_ID" in os.environ


def _by_srun() -> bool:
    """Whether this is one of several tasks of a step; a batch script itself is in no step."""
    return "SLURM_STEP_ID" in os.environ and int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1


def _by_hand() -> bool:
    return "MASTER_PORT" in os.environ and bool({"NODE_RANK", "LOCAL_RANK"} & os.environ.keys())
