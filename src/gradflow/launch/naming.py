"""What a job is called, and its figures in a line."""

from __future__ import annotations

import re
import shlex

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from gradflow.gradients.verdict import Verdict
from gradflow.launch.resolvers import swept_overrides, task_overrides


def run_name() -> str:
    """Name the running job by its overrides; in a multirun, by the swept overrides only."""
    hydra = HydraConfig.get()
    in_study = hydra.mode == RunMode.MULTIRUN
    overrides = swept_overrides(hydra) if in_study else task_overrides(hydra)
    overrides = [override for override in overrides if not override.startswith("study")]
    return ",".join(overrides) or "default"


def quoted(value: str) -> str:
    """Quote a value for Hydra's command line, whatever it holds."""
    value = re.sub(r"(\\*)('|$)", lambda m: m[1] * 2 + ("\\'" if m[2] else ""), value)
    return "'" + value.replace("${", "\\${") + "'"


def typed(key: str, value: str) -> str:
    """Return an override as it is typed in a shell."""
    plain = re.fullmatch(r"[\w.+=/-]+", value, re.ASCII)
    return shlex.quote(f"{key}={value if plain else quoted(value)}")


def short(metrics: dict[str, float], headline: str, verdict: Verdict | None) -> str:
    """Return the loss, the headline metric of each split, and the verdict, as far as known."""
    keys = ("train/loss", *(f"{split}/{headline}" for split in ("train", "validation", "test")))
    figures = [f"{key} {metrics[key]:.3f}" for key in dict.fromkeys(keys) if key in metrics]
    return ", ".join([*figures, *([verdict.kind] if verdict else [])])
