"""How large the nets, the batches and the runs are: full size on a GPU, tiny in a test."""

from __future__ import annotations

from typing import NamedTuple

import torch

from gradflow.launch.compose import compose
from project.config import Config


class Scale(NamedTuple):
    """The sizes of one call of the benchmark, and the device it is for."""

    device: torch.device
    net: tuple[str, ...] = ("model.depth=20",)
    batch_size: int = 512
    train_images: int = 25_600
    turn: int = 50  # steps of a round
    rounds: int = 10
    steps: int = 24  # of a run that is not timed
    backend: str = "inductor"  # of torch.compile

    @property
    def overrides(self) -> list[str]:
        """Return the overrides of the net, the data and the device."""
        return [
            *self.net,
            f"data.batch_size={self.batch_size}",
            f"data.train_images={self.train_images}",
            "data.validation=0",
            f"trainer={'cpu' if self.device.type == 'cpu' else 'gpu'}",
        ]

    def config(self, *overrides: str) -> Config:
        """Compose the configuration of a run that is not timed."""
        common = ["data=synthetic", "logger=none", "validate_every=1000000"]
        config: Config = compose([*common, f"steps={self.steps}", *self.overrides, *overrides])
        return config
