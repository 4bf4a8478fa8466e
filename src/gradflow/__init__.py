"""gradflow, the library: gradients recorded, diagnosed and compared, in any Lightning project.

The names below are what other projects may lean on. They stay, or CHANGELOG.md says what to change.
Each is imported when it is first asked for, so that `from gradflow import GradientMonitor` needs
torch, Lightning, numpy and polars alone.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from gradflow.version import __version__

if TYPE_CHECKING:
    from gradflow.errors import ConfigError, DataError
    from gradflow.gradients.monitor import GradientMonitor
    from gradflow.gradients.record import read_gradients
    from gradflow.gradients.verdict import Verdict, diagnose, diagnose_record
    from gradflow.launch.compose import compose
    from gradflow.launch.instantiate import instantiate
    from gradflow.runs.config import RunConfig
    from gradflow.runs.read import read_run, read_runs
    from gradflow.training.project import Project
    from gradflow.training.run import open_run

_PLACES = {
    "ConfigError": "errors",
    "DataError": "errors",
    "GradientMonitor": "gradients.monitor",
    "Project": "training.project",
    "RunConfig": "runs.config",
    "Verdict": "gradients.verdict",
    "compose": "launch.compose",
    "diagnose": "gradients.verdict",
    "diagnose_record": "gradients.verdict",
    "instantiate": "launch.instantiate",
    "open_run": "training.run",
    "read_gradients": "gradients.record",
    "read_run": "runs.read",
    "read_runs": "runs.read",
}

__all__ = [
    "ConfigError",
    "DataError",
    "GradientMonitor",
    "Project",
    "RunConfig",
    "Verdict",
    "__version__",
    "compose",
    "diagnose",
    "diagnose_record",
    "instantiate",
    "open_run",
    "read_gradients",
    "read_run",
    "read_runs",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'gradflow' has no attribute {name!r}")
    return getattr(import_module(f"gradflow.{_PLACES[name]}"), name)
