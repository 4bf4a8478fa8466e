"""Random layers draw anew in every batch and every process, and the same again after a resume."""

from types import SimpleNamespace
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from gradflow.training.seeding import SeedBatches


class Drawing(L.LightningModule):
    """Keeps one random number of each batch."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)
        self.drawn: list[float] = []

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        self.drawn.append(float(torch.rand(())))
        return self.layer(batch).sum()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def drawn(seed: int) -> list[float]:
    module = Drawing()
    trainer = L.Trainer(
        max_epochs=3,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[SeedBatches(seed)],
    )
    trainer.fit(module, DataLoader(torch.ones(8, 1), batch_size=2))  # type: ignore[arg-type]
    return module.drawn


def test_each_batch_of_each_epoch_has_numbers_of_its_own_and_they_follow_from_the_seed() -> None:
    once = drawn(0)
    assert len(set(once)) == len(once) == 12
    torch.rand(5)  # the state of the process is of no account
    assert drawn(0) == once
    assert not set(drawn(1)) & set(once)


def test_each_process_has_numbers_of_its_own() -> None:
    def first(rank: int) -> float:
        loop = SimpleNamespace(total_batch_idx=7)
        trainer: Any = SimpleNamespace(fit_loop=loop, global_rank=rank)
        SeedBatches(0).on_train_batch_start(trainer, Drawing(), None, 7)
        return float(torch.rand(()))

    assert len({first(rank) for rank in range(8)}) == 8
