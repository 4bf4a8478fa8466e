"""The arithmetic that the YAML files use, such as `${gradflow.fraction:${steps},0.5}`."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from hydra.conf import HydraConf
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from gradflow.training import slurm

_MOST_BYTES = 120  # bytes of a folder name; file systems allow 255, and W&B adds to it


def register() -> None:
    """Register the resolvers with OmegaConf; may be called again."""
    OmegaConf.register_new_resolver("gradflow.product", lambda a, b: a * b, replace=True)
    OmegaConf.register_new_resolver(
        "gradflow.fraction", lambda whole, part: int(whole * part), replace=True
    )
    OmegaConf.register_new_resolver("gradflow.folder", _job_folder, replace=True)
    OmegaConf.register_new_resolver("gradflow.single_run", _single_run, replace=True)


def folder_name(overrides: str, swept: str = "") -> str:
    """Derive a folder name from a job's overrides.

    Long names keep only `swept`, the overrides that differ within the study, or else the first
    overrides, as far as they fit. They end with a hash of all overrides.
    """
    name = overrides.replace("/", "_") or "default"
    if len(name.encode()) <= _MOST_BYTES:
        return name
    kept = (swept or overrides).replace("/", "_")
    return kept.encode()[: _MOST_BYTES - 13].decode(errors="ignore") + "-" + _digest(overrides)


def task_overrides(hydra: HydraConf | DictConfig) -> list[str]:
    """Return the overrides of the task as they were typed, with what they refer to unresolved."""
    typed = OmegaConf.to_container(hydra.overrides.task, resolve=False)
    return [str(word) for word in typed]  # type: ignore[union-attr]


def swept_overrides(hydra: HydraConf) -> list[str]:
    """Return the overrides of a job that differ within its multirun.

    `hydra` is the job's node of that name. Hydra has already written the multirun's command line to
    its folder; without that file, all overrides are returned.
    """
    recorded = _sweep_dir(hydra) / "multirun.yaml"
    if not recorded.exists():
        return task_overrides(hydra)
    study = OmegaConf.load(recorded)
    overrides = task_overrides(study.hydra) if "hydra" in study else []
    params = OmegaConf.select(study, "hydra.sweeper.params") or {}
    overrides += [f"{key}={value}" for key, value in params.items()]
    parsed = OverridesParser.create().parse_overrides(overrides)
    swept = {override.key_or_group for override in parsed if override.is_sweep_override()}
    return [word for word in task_overrides(hydra) if word.split("=")[0].lstrip("+") in swept]


def overridden_keys(hydra_node: Any) -> set[str]:
    """Return the keys and groups that the overrides of a job, or of a multirun, set."""
    words = task_overrides(hydra_node)
    return {word.split("=")[0].lstrip("+~").split("@")[0] for word in words}


def _job_folder(overrides: str, *, _root_: DictConfig) -> str:
    # A widened study may sweep other overrides; a job then keeps the folder that it had.
    for known in _sweep_dir(_root_.hydra).glob(f"*-{_digest(overrides)}"):
        return known.name
    return folder_name(overrides, ",".join(swept_overrides(_root_.hydra)))


def _single_run(now: str, overrides: str) -> str:
    """Name a single run's folder: by the time, or on Slurm by the job, which may be requeued.

    Several runs of one job differ in their overrides.
    """
    job = slurm.batch_job_id()
    return now if job is None else f"slurm-{job}-{_digest(overrides)}"


def _sweep_dir(hydra: HydraConf) -> Path:
    # With hydra.job.chdir=true the working directory is the job's.
    return Path(hydra.runtime.cwd) / str(hydra.sweep.dir)


def _digest(overrides: str) -> str:
    return hashlib.sha256(overrides.encode()).hexdigest()[:12]
