"""CIFAR-100 (Krizhevsky 2009): images as large as CIFAR-10's, in a hundred classes."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Unpack

import torch
from filelock import FileLock
from torchvision import datasets

from gradflow.errors import DataError
from project.data.images import Batching, ImageData, Images

# In the order of the labels.
_CLASSES = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly
camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup
dinosaur dolphin elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower
leopard lion lizard lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid
otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray
road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar
sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle
wardrobe whale willow_tree wolf woman worm
"""


class CIFAR100(ImageData):
    """torchvision's archive, fetched and verified by torchvision when it is first needed."""

    num_classes = 100
    classes = tuple(_CLASSES.split())

    def __init__(
        self,
        *,
        root: str | Path = "data",
        validation: int = 5000,
        **batching: Unpack[Batching],
    ) -> None:
        """Take the folder where the archive is kept; the rest as in ImageData."""
        super().__init__(validation=validation, train_images=50_000, **batching)
        self.root = Path(root).expanduser()

    def identity(self) -> Hashable:
        """Return the folder."""
        return self.root.resolve()

    def read_images(self) -> tuple[Images, Images]:
        """Return the images to train and validate on, and the test images; fetch them first."""
        self.root.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self.root / ".cifar100.lock"):
                train, test = (
                    datasets.CIFAR100(self.root, train, download=True) for train in (True, False)
                )
        except (OSError, RuntimeError) as error:
            why = f"cannot be fetched to {self.root}: {error}".splitlines()[0]
            raise DataError(f"CIFAR-100: {why}; put cifar-100-python.tar.gz there") from error
        return _images(train), _images(test)


def _images(split: datasets.CIFAR100) -> Images:
    return Images(torch.from_numpy(split.data).permute(0, 3, 1, 2), torch.tensor(split.targets))
