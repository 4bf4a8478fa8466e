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

from gradflow.training.window import Window

Batch = tuple[Tensor, Tensor]  # images float32 (B, 3, H, W), labels int64 (B,)
# What a checkpoint holds beside the weights: attributes of the Classifier.
_STATE = ("diverged_at", "validated_at", "_logged_at")


class Classifier(L.LightningModule):
    """Train `net`, images (B, 3, H, W) to logits (B, classes), with cross-entropy.

    Every `log_every` steps it logs the mean loss and accuracy over those steps, the learning rate,
    and the total gradient norm of the last of them before and after clipping. Where the mean loss
    is not finite, the run has diverged: `diverged_at` says by which step, and training stops.

    Random layers (RReLU, dropout) draw from a state that is seeded anew in every batch from (seed,
    number of the batch), so that a resumed run draws what the uninterrupted one would have drawn.
    For the same reason checkpoints hold the sums of the window that is still open.
    """

    def __init__(
        self,
        net: nn.Module,
        *,
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
        scheduler: Callable[[Optimizer], LRScheduler],
        clip: Callable[[nn.Module], None],
        seed: int,
        log_every: int,
    ) -> None:
        super().__init__()
        self.net = net
        self.diverged_at: int | None = None
        self.validated_at = -1
        self._optimizer = optimizer
        self._scheduler = scheduler
        self._clip = clip
        self._seed = seed
        self._log_every = log_every
        self._logged_at = 0  # no step is done yet, and none to log
        self._window = Window.empty(self.device)
        self._norms: tuple[Tensor, Tensor]  # before and after clipping, in the step to be logged

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Build the optimizer and a schedule that moves with every optimizer step."""
        optimizer = self._optimizer(self.net.parameters())
        scheduler = {"scheduler": self._scheduler(optimizer), "interval": "step"}
        return {"optimizer": optimizer, "lr_scheduler": scheduler}  # type: ignore[return-value]

    def on_train_start(self) -> None:
        """Bring the window to the device; stay stopped where a resumed run had diverged."""
        self._window = self._window.to(self.device)
        if self.diverged_at is not None:
            self.trainer.should_stop = True

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what the weights do not say of a run."""
        state = {key: getattr(self, key) for key in _STATE}
        checkpoint["classifier"] = state | {"window": self._window.state()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on from there."""
        state = checkpoint["classifier"]
        for key in _STATE:
            setattr(self, key, state[key])
        self._window = Window(**state["window"])

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Seed the random layers for this batch."""
        seed = (self._seed * 1_000_003 + self._batches_seen()) % 2**63
        # Not torch.manual_seed: where CUDA is built in but idle, that keeps a stack trace a call.
        torch.default_generator.manual_seed(seed)
        if self.device.type != "cpu":
            torch.get_device_module(self.device).manual_seed(seed)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the mean loss of one batch."""
        images, labels = batch
        logits = self.net(images)
        loss = F.cross_entropy(logits, labels)
        self._window.add(loss.detach(), logits.detach(), labels)
        return loss

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip as configured; on steps that are logged, measure the norm before and after."""
        if (self.global_step + 1) % self._log_every:
            self._clip(self.net)
            return
        before = self._gradient_norm()
        self._clip(self.net)
        self._norms = (before, self._gradient_norm())

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Log the window that ends with this step."""
        step = self.global_step
        if step == self._logged_at or step % self._log_every:
            return
        self._logged_at = step
        loss, accuracy = self._window.means()
        before, after = torch.stack(self._norms).tolist()
        optimizer = self.optimizers()
        assert not isinstance(optimizer, list)  # configure_optimizers builds one
        values = {
            "train/loss": loss,
            "train/accuracy": accuracy,
            "lr": optimizer.param_groups[0]["lr"],
            "gradient_norm/total_before_clipping": before,
            "gradient_norm/total_after_clipping": after,
        }
        self.log_dict(values)
        self._window = Window.empty(self.device)
        if not math.isfinite(loss):
            self.diverged_at = step
            self.trainer.should_stop = True

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Add one batch to the means of the validation split."""
        self._evaluate(batch, "validation")

    def on_validation_epoch_end(self) -> None:
        """Remember what the logged validation figures belong to."""
        self.validated_at = self.global_step

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

    def _gradient_norm(self) -> Tensor:
        gradients = [p.grad for p in self.net.parameters() if p.grad is not None]
        return nn.utils.get_total_norm(gradients)

    def _batches_seen(self) -> int:
        return self.trainer.fit_loop.epoch_loop.total_batch_idx + 1
