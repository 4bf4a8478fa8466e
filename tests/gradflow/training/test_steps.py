"""Groups of accumulated batches are whole with any loader, not only with the project's own."""

from collections.abc import Iterator

import lightning as L
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from gradflow.errors import ConfigError
from gradflow.training.steps import WholeGroups


class Counting(L.LightningModule):
    """Counts the batches of each optimizer step."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)
        self.groups: list[int] = []
        self._batches = 0

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        self._batches += 1
        return self.layer(batch[0]).sum()

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        self.groups.append(self._batches)
        self._batches = 0

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Data(L.LightningDataModule):
    """Ordinary DataLoaders of `batches` batches."""

    def __init__(self, batches: int) -> None:
        super().__init__()
        self._batches = batches

    def train_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return DataLoader(TensorDataset(torch.ones(2 * self._batches, 1)), batch_size=2)


class Endless(IterableDataset[list[Tensor]]):
    """Batches without a number."""

    def __iter__(self) -> Iterator[list[Tensor]]:
        yield from [[torch.ones(2, 1)]] * 7


class EndlessData(L.LightningDataModule):
    """A loader without a length."""

    def train_dataloader(self) -> DataLoader[list[Tensor]]:
        return DataLoader(Endless(), batch_size=None)


def groups(
    data: L.LightningDataModule, accumulate: int, limit: int | float | None = None
) -> list[int]:
    module = Counting()
    trainer = L.Trainer(
        max_epochs=2,
        accelerator="cpu",
        accumulate_grad_batches=accumulate,
        limit_train_batches=limit,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[WholeGroups()],
    )
    trainer.fit(module, datamodule=data)
    return module.groups


@pytest.mark.parametrize(
    ("batches", "accumulate", "limit", "steps"),
    [
        (5, 2, None, 4),
        (7, 3, None, 4),
        (6, 3, None, 4),
        (5, 1, None, 10),
        (9, 2, 5, 4),
        (10, 2, 0.5, 4),
    ],
)
def test_every_step_has_a_whole_group(
    batches: int, accumulate: int, limit: int | float | None, steps: int
) -> None:
    assert groups(Data(batches), accumulate, limit) == [accumulate] * steps


def test_a_loader_without_a_length_is_left_alone() -> None:
    assert sum(groups(EndlessData(), 2)) == 14


def test_an_epoch_that_is_too_short_for_one_step_is_refused_in_one_line() -> None:
    with pytest.raises(ConfigError, match=r"^accumulate=4: an epoch has 3 batch\(es\), too few"):
        groups(Data(3), 4)
