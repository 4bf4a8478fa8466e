"""Steps, not batches: every group of accumulated batches is whole.

Lightning divides the last, incomplete group of an epoch by the full number of batches and steps all
the same. Its gradient is too small, the steps no longer fall on multiples of `accumulate`, and
whatever is due "every N steps" comes early.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from gradflow.errors import ConfigError


def optimizer_count(task: LightningModule) -> int:
    """Return how many optimizers a step of `task` moves: Lightning's `global_step` adds them up."""
    if task.automatic_optimization:
        return 1
    built: Any = task.configure_optimizers()
    optimizers = built[0] if isinstance(built, tuple) and isinstance(built[0], list) else built
    return len(optimizers) if isinstance(optimizers, list | tuple) else 1


def steps_done(trainer: Trainer) -> int:
    """Return the steps of a trainer so far, each an update by all optimizers of its module."""
    module = trainer.lightning_module
    several = module is not None and not module.automatic_optimization
    return trainer.global_step // max(len(trainer.optimizers) if several else 1, 1)


def steps_saved(checkpoint: Mapping[str, Any]) -> int:
    """Return the steps after which a checkpoint was saved."""
    step: int = checkpoint["global_step"]
    return step // max(len(checkpoint.get("optimizer_states", ())), 1)


class WholeGroups(Callback):
    """End each epoch after its last whole group of accumulated batches.

    The batches that are left over are dropped, as DataLoader's `drop_last` drops a last, smaller
    batch. So validation and checkpoints, which count steps or epochs, always fall between groups.
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Limit the batches of an epoch, where the loader says how many it has."""
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
        """Note where a resumed run begins."""
        self._resumed = trainer.ckpt_path is not None

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Number a resumed run's rows as if nobody had interrupted it.

        Lightning counts one step too many where the checkpoint is that of an epoch's end.
        """
        if self._resumed:
            self._resumed = False
            done = trainer.fit_loop.total_batch_idx // trainer.accumulate_grad_batches
            trainer.fit_loop.epoch_loop._batches_that_stepped = done
