"""Several labels at once: each of five is there or not."""

import torch
from regression import Lengths
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics import Metric
from torchmetrics.classification import MultilabelF1Score

from project.tasks import Supervised


class MultiLabel(Supervised):
    """Binary cross-entropy of logits and labels (B, 5), and the F1 score, a mean over labels."""

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(outputs, targets.float())

    def metrics(self) -> dict[str, Metric]:
        return {"f1": MultilabelF1Score(num_labels=5)}


class Signs(Lengths):
    """Vectors of eight normal numbers; label k is there where numbers k and k + 1 add up to more
    than 0.
    """

    def _loader(self, count: int, seed: int) -> DataLoader[tuple[Tensor, ...]]:
        x = torch.randn(count, 8, generator=torch.Generator().manual_seed(seed))
        labels = (x[:, :5] + x[:, 1:6] > 0).long()
        return DataLoader(TensorDataset(x, labels), self.batch_size)
