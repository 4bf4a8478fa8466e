"""Regression: the task is its loss and its metrics, and everything else is inherited."""

import lightning as L
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics import MeanAbsoluteError, Metric

from project.tasks import Supervised


class Regression(Supervised):
    """Mean squared error of numbers (B, 1), and their mean absolute error."""

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.mse_loss(outputs, targets)

    def metrics(self) -> dict[str, Metric]:
        return {"absolute_error": MeanAbsoluteError()}


class Lengths(L.LightningDataModule):
    """Vectors of eight normal numbers, and how long each is."""

    def __init__(self, batch_size: int = 32) -> None:
        super().__init__()
        self.batch_size = batch_size

    def train_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return self._loader(2000, seed=0)

    def val_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return self._loader(500, seed=1)

    def test_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return self._loader(500, seed=2)

    def _loader(self, count: int, seed: int) -> DataLoader[tuple[Tensor, ...]]:
        x = torch.randn(count, 8, generator=torch.Generator().manual_seed(seed))
        return DataLoader(TensorDataset(x, x.norm(dim=1, keepdim=True)), self.batch_size)
