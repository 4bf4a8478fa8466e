"""Try a configuration for a few steps, so that what would fail hours later fails before the run.

The net, the task, the callbacks and the optimizer are built, trained, validated, saved and tested
on a few batches, in a temporary folder. Then all of it is thrown away.
"""

from __future__ import annotations

import sysconfig
import tempfile
import traceback
import warnings
from collections.abc import Callable
from itertools import dropwhile
from pathlib import Path
from typing import Any

import lightning as L
from lightning.fabric.loggers.logger import _DummyExperiment
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import WandbLogger

from gradflow.errors import ConfigError, DataError
from gradflow.gradients.monitor import GradientMonitor
from gradflow.runs.config import RunConfig
from gradflow.training.checkpoints import AtomicCheckpointIO, read_checkpoint
from gradflow.training.evaluate import figures, has_validation
from gradflow.training.one_batch import Repeated
from gradflow.training.process import restored_process
from gradflow.training.progress import Progress
from gradflow.training.project import Project
from gradflow.training.steps import optimizer_count, steps_done

BATCHES, STEPS = 2, 3
# Whose own lines say nothing about a mistake in a net, a task or a callback.
_FRAMEWORK = ("torch", "lightning", "lightning_fabric", "pytorch_lightning", "gradflow")
_INSTALLED = tuple({sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")})
_LOADERS = ("train_dataloader", "val_dataloader", "test_dataloader")


def dry_step(
    project: Project, config: RunConfig, build_trainer: Callable[..., Trainer], *, test: bool
) -> None:
    """Train, validate, save and, with `test`, test for a few steps; leave nothing behind.

    `config` is the configuration to try: one device, no compilation, epochs of `BATCHES` batches.
    `build_trainer(config, folder, name, validates=…, optimizers=…)` is the project's own. The
    gradient monitor and the progress bar are left out, W&B gets nothing, and checkpoints go to the
    temporary folder.

    The batches are `data.made_up_batch()`, again and again. Data without this method, or with
    loaders of its own that a subclass has added, gives the first batches of its loaders. Afterwards
    the random states are those of `config.seed`.

    Raises:
        ConfigError: if any of it fails: in one line, with the file and the line where it did.
        DataError: if real batches are needed and cannot be had.
    """
    try:
        with (
            restored_process(),
            tempfile.TemporaryDirectory() as folder,
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")  # the run itself will warn
            _try(project, config, build_trainer, Path(folder), test)
    except (ConfigError, DataError):
        raise
    except Exception as error:
        text = f"{_where(error)}{type(error).__name__}: {' '.join(str(error).split())}"
        text = text if len(text) < 700 else f"{text[:700]}…"
        raise ConfigError(f"dry step: {text} (dry_step=false trains without it)") from error
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
    if _makes_batches_up(data):
        _put_in_place(data, Repeated(data.made_up_batch(), BATCHES), validates)  # type: ignore[attr-defined]
    trainer = build_trainer(
        config, folder, "dry step", validates=validates, optimizers=optimizer_count(task)
    )
    _take_aside(trainer, folder)
    if config.logger.mode != "none":
        trainer.loggers = [*trainer.loggers, _SilentWandb()]
    trainer.fit(task, datamodule=data)
    last = folder / "dry.ckpt"
    trainer.save_checkpoint(last)
    try:
        read_checkpoint(last)
    except ConfigError as error:
        raise ConfigError(
            "dry step: a checkpoint of this task and these callbacks cannot be loaded with "
            "weights_only=True, so that the run could not be resumed: something in their "
            "hyperparameters or in their state_dict is no tensor, number, string, list or "
            "dictionary (dry_step=false trains without it)"
        ) from error
    figures(config, task, data, validation=False, test=test, batches=BATCHES)


def _makes_batches_up(data: LightningDataModule) -> bool:
    """Whether made-up batches are like those of the loaders: defined in the same class or later."""
    order = type(data).__mro__

    def place(name: str) -> int:
        return next((i for i, kind in enumerate(order) if name in vars(kind)), len(order))

    return place("made_up_batch") <= min(map(place, _LOADERS))


def _put_in_place(data: LightningDataModule, batches: Repeated, validates: bool) -> None:
    """Let the data give these batches, and fetch and save nothing; its attributes stay."""
    data.prepare_data = lambda: None  # type: ignore[method-assign]
    data.setup = lambda stage: None  # type: ignore[method-assign]
    data.state_dict = dict  # type: ignore[method-assign]
    data.train_dataloader = lambda: batches  # type: ignore[method-assign]
    data.val_dataloader = lambda: batches if validates else []  # type: ignore[method-assign]
    data.test_dataloader = lambda: batches  # type: ignore[method-assign]


def _take_aside(trainer: Trainer, folder: Path) -> None:
    """Let the trainer stop after a few steps, and write to `folder` alone."""
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    kept = [x for x in callbacks if not isinstance(x, (GradientMonitor, Progress))]
    for number, callback in enumerate(kept):
        if isinstance(callback, ModelCheckpoint):
            callback.dirpath = str(folder / f"checkpoints-{number}")
    trainer.callbacks = [_Stop(), *kept]  # type: ignore[attr-defined]
    trainer.strategy.checkpoint_io = _Inside(folder)


class _Stop(Callback):
    """Ends training after a few steps; what is planned for the whole run stays as it is."""

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if steps_done(trainer) >= STEPS:
            trainer.should_stop = True


class _Inside(AtomicCheckpointIO):
    """Writes and removes inside of `folder` alone."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        if Path(path).is_relative_to(self._folder):
            super().save_checkpoint(checkpoint, path, storage_options)

    def remove_checkpoint(self, path: str | Path) -> None:
        if Path(path).is_relative_to(self._folder):
            super().remove_checkpoint(path)


class _SilentWandb(WandbLogger):
    """A W&B logger for callbacks that look for one: it takes everything and does nothing."""

    LOGGER_JOIN_CHAR = "-"

    def __init__(self) -> None:
        self._nothing: Any = _DummyExperiment()

    @property
    def experiment(self) -> Any:
        return self._nothing

    @property
    def name(self) -> str:
        return "dry step"

    @property
    def version(self) -> str:
        return "dry step"

    @property
    def save_dir(self) -> str | None:
        return None

    def watch(self, *_: Any, **__: Any) -> None:
        """Do nothing, as all of these do."""

    log_hyperparams = log_metrics = log_table = log_text = log_image = watch
    log_audio = log_video = after_save_checkpoint = finalize = watch


def _where(error: Exception) -> str:
    """Return file and line of the deepest frame of the user's own code.

    Without one, those of another package's code, or else the callback's name. Only what `_try` has
    called counts.
    """
    frames = list(traceback.walk_tb(error.__traceback__))
    inner = list(dropwhile(lambda pair: pair[0].f_code is not _try.__code__, frames))[1:]
    outside = [
        (Path(frame.f_code.co_filename), line)
        for frame, line in reversed(inner)
        if str(frame.f_globals.get("__name__", "")).partition(".")[0] not in _FRAMEWORK
    ]
    own = [pair for pair in outside if not str(pair[0]).startswith(_INSTALLED)]
    for path, line in (own or outside)[:1]:
        shown = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
        return f"{shown}:{line}: "
    for frame, _ in reversed(inner):
        acting = frame.f_locals.get("self")
        if isinstance(acting, Callback):
            return f"{type(acting).__name__}: "
    return ""
