"""Classification: each input belongs to one class."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import Metric
from torchmetrics.classification import MulticlassAccuracy

from project.tasks.supervised import Supervised


class Classifier(Supervised):
    """Cross-entropy of logits (B, classes) and labels int64 (B,); the share classified right."""

    @property
    def chance_loss(self) -> float | None:  # type: ignore[override]
        """The cross-entropy of a net that gives each class its share of the training images.

        Without `class_counts` the classes are assumed to be equally frequent.
        """
        if self.class_counts is not None:
            counts = torch.tensor(self.class_counts, dtype=torch.float64)
            return float(torch.special.entr(counts / counts.sum()).sum())
        return None if self.num_classes is None else math.log(self.num_classes)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean cross-entropy of a batch."""
        return F.cross_entropy(outputs, targets)

    def predict_step(self, batch: Tensor, batch_idx: int) -> dict[str, Any]:
        """Return, for inputs (B, ...), the most probable class and all probabilities."""
        p = self.net(batch).float().softmax(dim=1)
        names = self.classes or ()
        if len(names) != p.shape[1]:
            names = [str(k) for k in range(p.shape[1])]
        top = {"label": [names[k] for k in p.argmax(1).tolist()], "probability": p.amax(1)}
        return top | {f"p({name})": column for name, column in zip(names, p.unbind(1), strict=True)}

    def metrics(self) -> dict[str, Metric]:
        """Return the accuracy."""
        if self.num_classes is None:
            raise ValueError("num_classes: must be set where the data does not say it")
        return {
            "accuracy": MulticlassAccuracy(self.num_classes, average="micro", validate_args=False)
        }
