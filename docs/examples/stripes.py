"""Images in memory: a data set says what its images are, and everything else is inherited."""

from typing import Unpack

import torch

from project.data import Batching, ImageData, Images


class Stripes(ImageData):
    """Grey images of 12 x 12 pixels; class k has k + 1 stripes, under noise."""

    num_classes, in_channels, size = 4, 1, (12, 12)

    def __init__(self, *, validation: int = 200, **batching: Unpack[Batching]) -> None:
        super().__init__(train_images=1200, validation=validation, **batching)

    def read_images(self) -> tuple[Images, Images]:
        return self._made(1200, seed=0), self._made(400, seed=1)

    def _made(self, count: int, seed: int) -> Images:
        labels = torch.arange(count) % 4
        columns = torch.linspace(0, torch.pi, 12)
        stripes = torch.cos((labels[:, None] + 1) * 2 * columns)[:, None, None, :]
        noise = torch.randn(count, 1, 12, 12, generator=torch.Generator().manual_seed(seed))
        return Images((128 + 40 * stripes + 40 * noise).clamp(0, 255).to(torch.uint8), labels)
