"""Any module's run ends where its loss is no longer finite, and a resumed one stays ended."""

import math
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from gradflow.training.divergence import StopWhereDiverged, diverged_at
from gradflow.training.steps import optimizer_count, steps_done


class Plain(L.LightningModule):
    """Its loss is `bad` in batch `at`, counted from 1."""

    def __init__(self, at: int, bad: float) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)
        self.at, self.bad, self.batches = at, bad, 0

    def training_step(self, batch: Tensor, batch_idx: int) -> Any:
        self.batches += 1
        loss = self.layer(batch).sum()
        return {"loss": loss * self.bad if self.batches == self.at else loss}

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=1e-3)


class TwoOptimizers(Plain):
    def __init__(self, at: int, bad: float) -> None:
        super().__init__(at, bad)
        self.automatic_optimization = False
        self.other = nn.Linear(1, 1)

    def training_step(self, batch: Tensor, batch_idx: int) -> Any:
        for optimizer in self.optimizers():
            optimizer.step()
        return super().training_step(batch, batch_idx)["loss"].detach()

    def configure_optimizers(self) -> Any:
        return [torch.optim.SGD(part.parameters(), lr=1e-3) for part in (self.layer, self.other)]


def fit(module: Plain, every: int, accumulate: int = 1, **options: Any) -> L.Trainer:
    trainer = L.Trainer(
        accelerator="cpu",
        max_steps=12 * optimizer_count(module),
        accumulate_grad_batches=accumulate,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[StopWhereDiverged(every)],
    )
    data: Any = DataLoader(torch.ones(24, 1), batch_size=1)  # type: ignore[arg-type]
    trainer.fit(module, data, **options)
    return trainer


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    ("kind", "accumulate", "at", "every", "by"),
    [
        (Plain, 1, 5, 1, 5),
        (Plain, 1, 5, 4, 8),  # seen at the next look
        (Plain, 2, 5, 1, 3),  # the fifth batch is of the third step
        (Plain, 1, 11, 5, 12),  # after the last look, seen at the end
        (TwoOptimizers, 1, 5, 1, 5),
    ],
)
def test_it_ends_by_the_next_look(
    kind: type[Plain], accumulate: int, at: int, every: int, by: int, bad: float
) -> None:
    trainer = fit(kind(at, bad), every, accumulate)
    assert diverged_at(trainer) == by
    assert steps_done(trainer) == by


def test_a_finite_run_ends_at_its_last_step() -> None:
    trainer = fit(Plain(0, 1.0), 5)
    assert diverged_at(trainer) is None
    assert steps_done(trainer) == 12


def test_a_resumed_run_trains_no_further(tmp_path: Path) -> None:
    fit(Plain(5, math.nan), 1).save_checkpoint(tmp_path / "last.ckpt")
    again = Plain(0, 1.0)
    trainer = fit(again, 1, ckpt_path=tmp_path / "last.ckpt", weights_only=True)
    assert diverged_at(trainer) == 5
    assert again.batches <= 1  # Lightning looks at should_stop after a batch
