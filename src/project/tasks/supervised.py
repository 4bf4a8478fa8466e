"""A LightningModule for inputs with targets: one net, one loss, one optimizer, some metrics.

A task of this kind says its loss and its metrics, in five lines. A task of another kind, with two
optimizers or no targets, is a LightningModule of its own. Nothing here knows Hydra: what a task
needs comes as objects and factories.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Required, TypedDict

import lightning as L
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torchmetrics import MeanMetric, Metric

SPLITS = ("train", "validation", "test")
Batch = Sequence[Tensor]  # inputs (B, ...) and targets (B, ...)


class Given(TypedDict, total=False):
    """What a run offers to a task, beside the net."""

    optimizer: Required[Callable[[Iterable[nn.Parameter]], Optimizer]]
    scheduler: Required[Callable[[Optimizer], LRScheduler]]
    clip: Required[Callable[[nn.Module], None]]
    num_classes: int | None
    class_counts: Sequence[int] | None
    classes: Sequence[str] | None
    log_every: int


class Supervised(L.LightningModule, ABC):
    """Train `net` to map inputs to targets.

    Every `log_every` steps, and at the last one, it logs the mean loss and the metrics since it
    last did, over all processes; the learning rate; and the total gradient norm of that step before
    and after clipping. The means that are still open are part of a checkpoint, so that a resumed
    run logs what an uninterrupted one would have logged.
    """

    # The loss of a net that knows nothing of its input, if that is known: the verdict compares
    # with it. None: it compares with the first loss.
    chance_loss: float | None = None

    def __init__(
        self,
        net: nn.Module,
        *,
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
        scheduler: Callable[[Optimizer], LRScheduler],
        clip: Callable[[nn.Module], None],
        num_classes: int | None = None,
        class_counts: Sequence[int] | None = None,
        classes: Sequence[str] | None = None,
        log_every: int = 20,
    ) -> None:
        super().__init__()
        self.net = net
        self.num_classes = num_classes
        self.class_counts = class_counts
        self.classes = classes
        self._optimizer = optimizer
        self._scheduler = scheduler
        self._clip = clip
        self._log_every = log_every
        self._logged_at = 0  # the last step that was logged
        self._norms: tuple[Tensor, Tensor] | None = None  # of the step to be logged
        # A set for each split. "train" alone would be an attribute of every module.
        self._means = nn.ModuleDict({f"{split}_": self._new_means() for split in SPLITS})
        for metric in self._of_split("train").values():
            metric.persistent(True)

    @abstractmethod
    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss of a batch."""

    @abstractmethod
    def metrics(self) -> dict[str, Metric]:
        """Return new metrics of outputs and targets, by their names in the record."""

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Build the optimizer of all trainable weights, and a schedule that moves each step."""
        optimizer = self._optimizer(p for p in self.net.parameters() if p.requires_grad)
        scheduler = {"scheduler": self._scheduler(optimizer), "interval": "step"}
        return {"optimizer": optimizer, "lr_scheduler": scheduler}  # type: ignore[return-value]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add which step was logged last."""
        checkpoint["logged_at"] = self._logged_at

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on from there."""
        self._logged_at = checkpoint["logged_at"]

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the mean loss of one batch."""
        return self._measure(batch, "train")

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Add one batch to the means of the validation split."""
        self._measure(batch, "validation")

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Add one batch to the means of the test split."""
        self._measure(batch, "test")

    def predict_step(self, batch: Tensor, batch_idx: int) -> Any:
        """Return the net's outputs for inputs (B, ...)."""
        return self.net(batch)

    def on_validation_epoch_end(self) -> None:
        """Log the means of the validation split."""
        self.log_dict(self._take_means("validation"), sync_dist=True)

    def on_test_epoch_end(self) -> None:
        """Log the means of the test split."""
        self.log_dict(self._take_means("test"), sync_dist=True)

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
        """Log the means that end with this step."""
        step = self.global_step
        if step != self._logged_at and step % self._log_every == 0:
            # For callbacks alone: to loggers, Lightning would send it once more at an early end.
            self.log_dict(self._log_means(step), logger=False)

    def on_train_end(self) -> None:
        """Log the means of the last steps, if they are no full window."""
        if self.global_step != self._logged_at:
            self._log_means(self.global_step)

    def _measure(self, batch: Batch, split: str) -> Tensor:
        inputs, targets = batch
        outputs = self.net(inputs)
        loss = self.loss(outputs, targets)
        for name, metric in self._of_split(split).items():
            if name == "loss":
                # Once for each input: with "disable", torchmetrics ignores weights.
                metric.update(loss.detach().expand(len(inputs)))
            else:
                metric.update(outputs.detach(), targets)
        return loss

    def _new_means(self) -> nn.ModuleDict:
        # A loss that is not finite has to show in its mean.
        return nn.ModuleDict({"loss": MeanMetric(nan_strategy="disable"), **self.metrics()})

    def _of_split(self, split: str) -> dict[str, Metric]:
        means = self._means[f"{split}_"]
        return dict(means.items())  # type: ignore[operator]

    def _take_means(self, split: str) -> dict[str, float]:
        """Return the means over all processes since this was last done; begin new ones.

        Every process must call this at the same step.
        """
        metrics = self._of_split(split)
        values = torch.stack([metric.compute().float() for metric in metrics.values()]).tolist()
        for metric in metrics.values():
            metric.reset()
        return {f"{split}/{name}": value for name, value in zip(metrics, values, strict=True)}

    def _log_means(self, step: int) -> dict[str, float]:
        """Log and return the means of the training split, the learning rate and the norms."""
        self._logged_at = step
        optimizer = self.optimizers()
        assert not isinstance(optimizer, list)  # configure_optimizers builds one
        values = self._take_means("train") | {"lr": optimizer.param_groups[0]["lr"]}
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
