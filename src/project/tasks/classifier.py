"""Classification: each input belongs to one class."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F
from torchmetrics import Metric
from torchmetrics.classification import MulticlassAccuracy

from project.tasks.supervised import Supervised


class Classifier(Supervised):
    """Cross-entropy of logits (B, classes) and labels int64 (B,); the share classified right."""

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean cross-entropy of a batch."""
        return F.cross_entropy(outputs, targets)

    def metrics(self) -> dict[str, Metric]:
        """Return the accuracy."""
        if self.num_classes is None:
            raise ValueError("num_classes: must be set where the data does not say it")
        return {
            "accuracy": MulticlassAccuracy(self.num_classes, average="micro", validate_args=False)
        }
