"""Ten classes made by a formula: for tests, and for machines with no way to the real data."""

import math
from collections.abc import Hashable
from typing import Unpack

import torch

from project.data.images import Batching, ImageData, Images, check_integer


class Synthetic(ImageData):
    """Images of CIFAR-10's shape whose class shows in a tint and in horizontal stripes.

    Class k has a tint, cos(2 pi (k / 10 + c / 3)) in channel c, and 1 + k mod 5 stripes, so
    neither a crop nor a mirror image changes what it is. Under normal noise of twice their
    amplitude, a linear classifier learns them and a single pixel tells nothing.
    The images are always the same ones; labels go round, 0 to 9, so that classes are equal in
    number.
    """

    def __init__(
        self,
        *,
        train_images: int = 2500,
        test_images: int = 500,
        validation: int = 500,
        **batching: Unpack[Batching],
    ) -> None:
        """Take the numbers of images, each a multiple of 10; the rest as in ImageData."""
        for name, value in (("train_images", train_images), ("test_images", test_images)):
            check_integer(name, value, 20, 1_000_000)
            if value % self.num_classes:
                raise ValueError(f"{name}={value}: must be a multiple of {self.num_classes}")
        super().__init__(train_images=train_images, validation=validation, **batching)
        self.train_images = train_images
        self.test_images = test_images

    def identity(self) -> Hashable:
        """Return the numbers of images."""
        return (self.train_images, self.test_images)

    def read_images(self) -> tuple[Images, Images]:
        """Return the images to train and validate on, and the test images."""
        return _images(self.train_images, stream=0), _images(self.test_images, stream=1)


def _images(count: int, *, stream: int) -> Images:
    labels = torch.arange(count) % 10
    label = torch.arange(10).view(10, 1, 1, 1)
    channel = torch.arange(3).view(1, 3, 1, 1)
    row = torch.arange(32).view(1, 1, 32, 1)
    tint = torch.cos(2 * math.pi * (label / 10 + channel / 3))
    stripes = torch.cos(2 * math.pi * (1 + label % 5) * row / 32)
    prototypes = 128 + 24 * (tint + stripes)
    noise = torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(stream))
    images = prototypes[labels] + 48 * noise
    return Images(images.round_().clamp_(0, 255).to(torch.uint8), labels)
