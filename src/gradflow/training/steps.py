"""Count steps, and drop incomplete groups of accumulated batches.

At the end of an epoch, Lightning steps even if the last group is incomplete, but divides its
gradient by the full number of batches. So the gradient is too small, the steps no longer fall on
multiples of `accumulate`, and anything due "every N steps" comes early.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from gradflow.errors import ConfigError


def optimizer_count(task: LightningModule) -> int:
    """Return the optimizers of a step of `task`; Lightning's `global_step` counts each of them."""
    if task.automatic_optimization:
        return 1
    built: Any = task.configure_optimizers()
    optimizers = built[0] if isinstance(built, tuple) and isinstance(built[0], list) else built
    return len(optimizers) if isinstance(optimizers, list | tuple) else 1


def steps_done(trainer: Trainer) -> int:
    """Return the trainer's steps so far; a step is one update by all optimizers of its module."""
    module = trainer.lightning_module
    several = module is not None and not module.automatic_optimization
    return trainer.global_step // max(len(trainer.optimizers) if several else 1, 1)


def steps_saved(checkpoint: Mapping[str, Any]) -> int:
    """Return the number of steps at which a checkpoint was saved."""
    step: int = checkpoint["global_step"]
    return step // max(len(checkpoint.get("optimizer_states", ())), 1)


class WholeGroups(Callback):
    """End each epoch after its last complete group of accumulated batches.

    Left-over batches are dropped, as DataLoader's `drop_last` drops a smaller last batch. So
    validation and checkpoints, which count steps or epochs, always fall between groups.
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Limit the batches of an epoch if the length of the loader is known."""
        group = trainer.accumulate_grad_batches
        data = getattr(trainer, "datamodule", None)
        if stage != "fit" or group == 1 or data is None:
            return
        try:
            batches = len(data.train_dataloader())
        except (TypeError, NotImplementedError):  # an iterable data set has no length
            return
        limit = trainer.limit_train_batches
        if isinstance(limit, int):
            batches = min(batches, limit)
        elif limit is not None:
            batches = int(batches * limit)
        if batches < group:
            raise ConfigError(
                f"accumulate={group}: an epoch has {batches} batch(es), too few for one step"
            )
        if batches % group:
            trainer.limit_train_batches = batches // group * group

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note whether the run is resumed."""
        self._resumed = trainer.ckpt_path is not None

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Give a resumed run the same step numbers as an uninterrupted run.

        Lightning counts one step too many after a checkpoint from the end of an epoch.
        """
        if self._resumed:
            self._resumed = False
            done = trainer.fit_loop.total_batch_idx // trainer.accumulate_grad_batches
            trainer.fit_loop.epoch_loop._batches_that_stepped = done
