"""One batch, again and again: the first thing to try on a net that does not learn."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lightning.pytorch import LightningDataModule


class OneBatch(LightningDataModule):
    """Train on the first batch of `data`, `count` times an epoch. There are no other splits."""

    has_validation = False

    def __init__(self, data: LightningDataModule, count: int) -> None:
        super().__init__()
        self._data = data
        self._count = count

    def prepare_data(self) -> None:
        """Fetch what `data` fetches."""
        self._data.prepare_data()

    def setup(self, stage: str) -> None:
        """Read what `data` reads."""
        self._data.trainer = self.trainer
        self._data.setup(stage)

    def train_dataloader(self) -> Repeated:
        """Return the batch and its repetitions."""
        return Repeated(next(iter(self._data.train_dataloader())), self._count)


class Repeated:
    """`batch`, `count` times."""

    def __init__(self, batch: Any, count: int) -> None:
        self._batch = batch
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Any]:
        for _ in range(self._count):
            yield self._batch
