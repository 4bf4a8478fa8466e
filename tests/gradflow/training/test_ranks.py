"""Which process of a run this is, by what launchers set in the environment; and its hardware."""

from pathlib import Path

import pytest
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch.strategies import DDPStrategy

from gradflow.errors import ConfigError
from gradflow.runs.config import Trainer
from gradflow.training.distributed import hardware, threads_per_process
from gradflow.training.ranks import cluster, is_first_process, started_from_outside

TORCHRUN = {"TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2"}
SRUN = {"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "4", "SLURM_JOB_ID": "7", "SLURM_NTASKS": "4"}
BY_HAND = {"MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "1234"}


def trainer(strategy: str = "ddp", devices: int | str = 2, num_nodes: int = 1) -> Trainer:
    values = {"devices": devices, "num_nodes": num_nodes, "strategy": strategy}
    return Trainer.model_validate({"accelerator": "cpu", **values})


def put(monkeypatch: pytest.MonkeyPatch, *variables: dict[str, str]) -> None:
    for name, value in {k: v for group in variables for k, v in group.items()}.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    ("variables", "first", "outside"),
    [
        ({}, True, False),
        (TORCHRUN | {"RANK": "0", "LOCAL_RANK": "0"}, True, True),
        (TORCHRUN | {"RANK": "2", "LOCAL_RANK": "0"}, False, True),  # the first one of its machine
        (SRUN | {"SLURM_PROCID": "0"}, True, True),
        (SRUN | {"SLURM_PROCID": "2", "SLURM_LOCALID": "0"}, False, True),
        (SRUN | {"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1"}, True, False),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "4", "SLURM_JOB_ID": "7"}, True, False),  # sbatch
        (BY_HAND | {"NODE_RANK": "0"}, True, True),
        (BY_HAND | {"NODE_RANK": "1"}, False, True),
    ],
)
def test_one_process_of_all_is_the_first(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], first: bool, outside: bool
) -> None:
    put(monkeypatch, variables)
    assert is_first_process() == first
    assert started_from_outside() == outside


def test_auto_means_what_has_been_started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    put(monkeypatch, SRUN, {"SLURM_PROCID": "0"})
    assert hardware(trainer(devices="auto", num_nodes=2), tmp_path)["devices"] == 2
    assert cluster().world_size() == 4


def test_other_processes_than_the_trainers_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, TORCHRUN, {"RANK": "0"})
    with pytest.raises(ConfigError, match="torchrun has started 4 processes"):
        threads_per_process(trainer("auto", devices=1))


def test_one_process_does_not_ask_slurm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Lightning would refuse `--ntasks` without `--ntasks-per-node`, in a final test too."""
    put(monkeypatch, SRUN, {"SLURM_PROCID": "0"})
    plugins = hardware(trainer("auto", devices=1), tmp_path)["plugins"]
    assert isinstance(plugins[-1], LightningEnvironment)


@pytest.mark.parametrize("name", ["ddp", "ddp_find_unused_parameters_true", "auto"])
def test_every_strategy_that_starts_command_lines_has_the_runs_own_launcher(
    tmp_path: Path, name: str
) -> None:
    """Lightning's own would start the whole sweep again."""
    made = hardware(trainer(name), tmp_path)["strategy"]
    assert isinstance(made, DDPStrategy)
    assert made._ddp_kwargs == {"find_unused_parameters": name.endswith("_true")}
    assert hardware(trainer("auto", devices=1), tmp_path)["strategy"] == "auto"
