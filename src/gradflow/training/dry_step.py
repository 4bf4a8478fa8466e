"""Try a configuration for a few steps, so that what would fail hours later fails before the run.

The net, the task, the callbacks and the optimizer are built, trained, validated, saved and tested
on two made-up batches, in a temporary folder. Then all of it is thrown away.
"""

from __future__ import annotations

import tempfile
import traceback
import warnings
from collections.abc import Callable
from itertools import dropwhile
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch import Callback, LightningDataModule, Trainer

from gradflow.errors import ConfigError, DataError
from gradflow.gradients.monitor import GradientMonitor
from gradflow.runs.config import RunConfig
from gradflow.training.checkpoints import read_checkpoint
from gradflow.training.evaluate import figures, has_validation
from gradflow.training.one_batch import Repeated
from gradflow.training.process import restored_process
from gradflow.training.progress import Progress
from gradflow.training.project import Project
from gradflow.training.steps import optimizer_count

BATCHES = 2
# Whose own lines say nothing about a mistake in a net, a task or a callback.
_FRAMEWORK = ("torch", "lightning", "lightning_fabric", "pytorch_lightning", "gradflow")


def dry_step(
    project: Project, config: RunConfig, build_trainer: Callable[..., Trainer], *, test: bool
) -> None:
    """Train, validate, save and, with `test`, test for a few steps; leave nothing behind.

    `config` is the short configuration to try: few steps, one device, no compilation.
    `build_trainer(config, folder, name, validates=…, optimizers=…)` is the project's own. The
    gradient monitor and the progress bar are left out, and no callback writes a checkpoint.

    The batches are two of `data.made_up_batch()`; data without this method gives its first real
    one. Afterwards the random states are those of `config.seed`.

    Raises:
        ConfigError: if any of it fails: in one line, with the file and the line where it did.
        DataError: if the data has no `made_up_batch` and cannot be had.
    """
    try:
        with restored_process(), tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the run itself will warn
            _try(project, config, build_trainer, Path(folder), test)
    except (ConfigError, DataError):
        raise
    except Exception as error:
        said = f"{_where(error)}{type(error).__name__}: {' '.join(str(error).split())}"
        raise ConfigError(f"dry step: {said} (dry_step=false trains without it)") from error
    finally:
        L.seed_everything(config.seed, verbose=False)


def _try(
    project: Project,
    config: RunConfig,
    build_trainer: Callable[..., Trainer],
    folder: Path,
    test: bool,
) -> None:
    data = project.build_data(config)
    task = project.build_task(config, data)
    validates = has_validation(data)
    batches = Repeated(_batch(data), BATCHES)
    # The real data's hooks and attributes stay, as a task may use them.
    data.prepare_data = lambda: None  # type: ignore[method-assign]
    data.setup = lambda stage: None  # type: ignore[method-assign]
    data.state_dict = dict  # type: ignore[method-assign]
    data.train_dataloader = lambda: batches  # type: ignore[method-assign]
    data.val_dataloader = lambda: batches if validates else []  # type: ignore[method-assign]
    data.test_dataloader = lambda: batches  # type: ignore[method-assign]

    trainer = build_trainer(
        config, folder, "dry step", validates=validates, optimizers=optimizer_count(task)
    )
    left_out = (GradientMonitor, Progress)
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    trainer.callbacks = [x for x in callbacks if not isinstance(x, left_out)]  # type: ignore[attr-defined]
    last = folder / "dry.ckpt"
    trainer.strategy.checkpoint_io = _InFolder(folder)
    trainer.fit(task, datamodule=data)
    trainer.save_checkpoint(last)
    try:
        read_checkpoint(last)
    except ConfigError as error:
        raise ConfigError(
            "dry step: a checkpoint of this task and these callbacks cannot be loaded with "
            "weights_only=True; it may hold tensors, numbers, strings, lists and dictionaries"
        ) from error
    figures(config, task, data, validation=False, test=test)


def _batch(data: LightningDataModule) -> Any:
    if hasattr(data, "made_up_batch"):
        return data.made_up_batch()
    data.prepare_data()
    data.setup("fit")
    return next(iter(data.train_dataloader()))


class _InFolder(TorchCheckpointIO):
    """Writes to `folder` itself, as a tuner does, and nowhere else: no callback's checkpoints."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        if Path(path).parent == self._folder:
            torch.save(checkpoint, path)

    def remove_checkpoint(self, path: str | Path) -> None:
        if Path(path).parent == self._folder:
            super().remove_checkpoint(path)


def _where(error: Exception) -> str:
    """Return file and line of the deepest frame outside of the frameworks, or the callback's name.

    Only what `_try` has called counts.
    """
    frames = list(traceback.walk_tb(error.__traceback__))
    inner = list(dropwhile(lambda pair: pair[0].f_code is not _try.__code__, frames))[1:]
    for frame, line in reversed(inner):
        package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if package not in _FRAMEWORK:
            path = Path(frame.f_code.co_filename)
            shown = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
            return f"{shown}:{line}: "
    for frame, _ in reversed(inner):
        acting = frame.f_locals.get("self")
        if isinstance(acting, Callback):
            return f"{type(acting).__name__}: "
    return ""
