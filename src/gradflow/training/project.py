"""What a project registers, so that the library can build and train its runs.

The library knows no net, no data set and no loss. It is told one object, by an import path in
conf/train.yaml, and further processes of a run (the ranks of a data-parallel one) start through it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningDataModule, LightningModule

from gradflow.runs.config import RunConfig, import_named
from gradflow.runs.foreign import refuse_foreign_code


@dataclass(frozen=True)
class Project:
    """A project: the type of its configurations, and what is done with one.

    `build_data` returns a configuration's data, of which nothing is read yet. `build_task` returns
    its task, with the net, for that data; it touches no disk but for `weights`. `train` runs it in
    a folder, under a name, and returns the final metrics. `conf` is the folder of the
    configuration files: what they name may be built from any run's folder.
    """

    config: type[RunConfig]
    build_data: Callable[[Any], LightningDataModule]
    build_task: Callable[[Any, Any], LightningModule]
    train: Callable[[Any, Path, str], dict[str, float]]
    conf: Path | None = None

    def refuse_foreign_code(self, config: RunConfig, run: Path | None = None) -> None:
        """Raise ConfigError if what `config` names might run code that is not the reader's own."""
        package = self.config.__module__.partition(".")[0]
        refuse_foreign_code(config.model_dump(), package, self.conf, run)


def load_project(path: str) -> Project:
    """Import the project that `path` names. ConfigError if it cannot be imported."""
    return import_named(path, Project, "project")
