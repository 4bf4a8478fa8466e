"""The LightningModule: one net, its loss, its optimizer, and how gradients are clipped.

It knows nothing of Hydra: what it needs comes as objects and factories.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy

Batch = tuple[Tensor, Tensor]  # images float32 (B, C, H, W), labels int64 (B,)
# What a checkpoint holds beside the weights and the metrics: attributes of the Classifier.
_STATE = ("diverged_at", "_logged_at")


class Classifier(L.LightningModule):
    """Train `net`, images (B, 3, H, W) to logits (B, classes), with cross-entropy.

    Every `log_every` steps, and at the last one, it logs the mean loss and accuracy since it last
    did, over all processes; the learning rate; and the total gradient norm of the step before and
    after clipping. Where the mean loss is not finite, the run has diverged: `diverged_at` says by
    which step, and training stops in every process. The means that are still open are part of a
    checkpoint, so that a resumed run logs what an uninterrupted one would have logged.
    """

    def __init__(
        self,
        net: nn.Module,
        *,
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
        scheduler: Callable[[Optimizer], LRScheduler],
        clip: Callable[[nn.Module], None],
        num_classes: int,
        log_every: int,
    ) -> None:
        super().__init__()
        self.net = net
        self.diverged_at: int | None = None
        self._optimizer = optimizer
        self._scheduler = scheduler
        self._clip = clip
        self._log_every = log_every
        self._logged_at = 0  # no step is done yet, and none to log
        # A loss that is not finite has to show in the mean: nothing is checked or left out.
        self._loss = MeanMetric(nan_strategy="disable")
        self._accuracy = MulticlassAccuracy(num_classes, average="micro", validate_args=False)
        for metric in (self._loss, self._accuracy):
            metric.persistent(True)
        self._norms: tuple[Tensor, Tensor] | None = None  # of the step to be logged

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Build the optimizer and a schedule that moves with every optimizer step."""
        optimizer = self._optimizer(self.net.parameters())
        scheduler = {"scheduler": self._scheduler(optimizer), "interval": "step"}
        return {"optimizer": optimizer, "lr_scheduler": scheduler}  # type: ignore[return-value]

    def on_train_start(self) -> None:
        """Stay stopped where a resumed run had diverged."""
        if self.diverged_at is not None:
            self.trainer.should_stop = True

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what weights and metrics do not say of a run."""
        checkpoint["classifier"] = {key: getattr(self, key) for key in _STATE}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on from there."""
        for key in _STATE:
            setattr(self, key, checkpoint["classifier"][key])

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the mean loss of one batch."""
        images, labels = batch
        logits = self.net(images)
        loss = F.cross_entropy(logits, labels)
        self._loss.update(loss.detach())
        self._accuracy.update(logits.detach(), labels)
        return loss

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip as configured; on steps that are logged, measure the norm before and after."""
        step = self.global_step + 1
        if step % self._log_every and step != self.trainer.max_steps:
            self._clip(self.net)
            return
        before = self._gradient_norm()
        self._clip(self.net)
        self._norms = (before, self._gradient_norm())

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Log the means that end with this step; stop if the loss is not finite."""
        step = self.global_step
        if step != self._logged_at and step % self._log_every == 0:
            # For callbacks alone: to loggers, Lightning would send it once more at an early end.
            self.log_dict(self._log_means(step), logger=False)
            if self.diverged_at is not None:
                self.trainer.should_stop = True

    def on_train_end(self) -> None:
        """Log the means of the last steps, if they are no full window."""
        if self.global_step != self._logged_at:
            self._log_means(self.global_step)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Add one batch to the means of the validation split."""
        self._evaluate(batch, "validation")

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Add one batch to the means of the test split."""
        self._evaluate(batch, "test")

    def _evaluate(self, batch: Batch, split: str) -> None:
        images, labels = batch
        logits = self.net(images)
        values = {
            f"{split}/loss": F.cross_entropy(logits, labels),
            f"{split}/accuracy": (logits.argmax(1) == labels).float().mean(),
        }
        self.log_dict(values, on_epoch=True, batch_size=len(labels), sync_dist=True)

    def _log_means(self, step: int) -> dict[str, float]:
        """Log and return the means since this was last done; begin new ones.

        Every process must call this at the same step: the means are taken over all of them.
        """
        self._logged_at = step
        loss, accuracy = torch.stack([self._loss.compute(), self._accuracy.compute()]).tolist()
        self._loss.reset()
        self._accuracy.reset()
        if not math.isfinite(loss) and self.diverged_at is None:
            self.diverged_at = step
        optimizer = self.optimizers()
        assert not isinstance(optimizer, list)  # configure_optimizers builds one
        values = {
            "train/loss": loss,
            "train/accuracy": accuracy,
            "lr": optimizer.param_groups[0]["lr"],
        }
        if self._norms is not None:
            before, after = torch.stack(self._norms).tolist()
            values["gradient_norm/total_before_clipping"] = before
            values["gradient_norm/total_after_clipping"] = after
            self._norms = None
        for logger in self.trainer.loggers:
            logger.log_metrics(values | {"epoch": self.current_epoch}, step=step - 1)
        return values

    def _gradient_norm(self) -> Tensor:
        gradients = [p.grad for p in self.net.parameters() if p.grad is not None]
        return nn.utils.get_total_norm(gradients)
