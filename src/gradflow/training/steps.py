"""Steps, not batches: every group of accumulated batches is whole.

Lightning divides the last, incomplete group of an epoch by the full number of batches and steps all
the same. Its gradient is too small, the steps no longer fall on multiples of `accumulate`, and
whatever is due "every N steps" comes early.
"""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from gradflow.errors import ConfigError


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
