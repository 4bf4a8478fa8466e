"""Data-parallel training under a multirun: each further process computes one run, not the sweep.

Lightning's `ddp` starts the other processes with the command line of the first. With `-m`, that
would launch the whole multirun again. Here they get the run's folder instead, and read its
config.yaml.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch.distributed
from lightning.pytorch.strategies import DDPStrategy, Strategy
from lightning.pytorch.strategies.launchers.subprocess_script import _SubprocessScriptLauncher

_VARIABLES = ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


# Lightning's names of the strategies that start processes by a command line, and their value of
# `find_unused_parameters`.
_DDP = {
    "ddp": False,
    "ddp_find_unused_parameters_false": False,
    "ddp_find_unused_parameters_true": True,
}


def strategy(name: str, folder: Path) -> str | Strategy:
    """Return the Lightning strategy `name`; DDP strategies get this file's launcher."""
    return _RunDDP(folder, _DDP[name]) if name in _DDP else name


def is_first_process() -> bool:
    """Return whether this process has rank 0, which writes the run's files."""
    return os.environ.get("LOCAL_RANK", "0") == "0" and os.environ.get("NODE_RANK", "0") == "0"


def leave_process_group() -> None:
    """Destroy the process group and its environment variables, for the next job in this process."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    if "GRADFLOW_LAUNCHED_DDP" in os.environ:
        for name in (*_VARIABLES, "GRADFLOW_LAUNCHED_DDP"):
            os.environ.pop(name, None)


class _RunDDP(DDPStrategy):
    def __init__(self, folder: Path, find_unused: bool) -> None:
        super().__init__(find_unused_parameters=find_unused)
        self._folder = folder

    def _configure_launcher(self) -> None:
        assert self.cluster_environment is not None
        self._launcher = _Launcher(
            self.cluster_environment, self.num_processes, self.num_nodes, self._folder
        )


class _Launcher(_SubprocessScriptLauncher):
    def __init__(self, environment: Any, processes: int, nodes: int, folder: Path) -> None:
        super().__init__(environment, processes, nodes)
        self._folder = folder

    def _call_children_scripts(self) -> None:
        self._check_can_spawn_children()
        environment = self.cluster_environment
        os.environ |= {
            "MASTER_ADDR": environment.main_address,
            "MASTER_PORT": str(environment.main_port),
            "NODE_RANK": str(environment.node_rank()),
            "LOCAL_RANK": str(environment.local_rank()),
            "WORLD_SIZE": str(self.num_processes * self.num_nodes),
        }
        command = [sys.executable, "-m", "gradflow.training.worker", str(self._folder)]
        self.procs = [
            subprocess.Popen(command, env=os.environ | {"LOCAL_RANK": str(rank)})
            for rank in range(1, self.num_processes)
        ]
        os.environ["GRADFLOW_LAUNCHED_DDP"] = "1"
