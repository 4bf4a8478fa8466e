"""Images in folders, one folder for each class, read by an ordinary DataLoader."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.datasets.folder import default_loader
from torchvision.transforms import v2

from gradflow.errors import DataError
from project.data.images import check_integer, input_transforms


class ImageFolders(LightningDataModule):
    """The splits `root/train`, `root/validation` and `root/test`, each with a folder a class.

    Images are resized to `size` and scaled to [-1, 1]. `root/validation` may be missing.

    The order of the images follows from the run's seed. A run that is resumed inside an epoch
    begins that epoch anew, because an ordinary DataLoader does not know where it was.
    """

    def __init__(
        self,
        *,
        root: str | Path = "data/images",
        size: tuple[int, int] | list[int] = (32, 32),
        in_channels: int = 3,
        batch_size: int = 128,
        workers: int = 2,
        pad: int = 0,
        flip: bool = True,
    ) -> None:
        """Take the size as (height, width), 1 channel for grey or 3. ValueError if out of range."""
        super().__init__()
        if in_channels not in (1, 3):
            raise ValueError(f"in_channels={in_channels}: must be 1 (grey) or 3 (RGB)")
        if len(size) != 2 or not all(isinstance(n, int) and n > 0 for n in size):
            raise ValueError(f"size={size}: must be [height, width], in pixels")
        check_integer("batch_size", batch_size, 1, 1_000_000)
        check_integer("workers", workers, 0, 1024)
        check_integer("pad", pad, 0, 1024)
        if not isinstance(flip, bool):
            raise ValueError(f"flip={flip}: must be true or false")
        self.root = Path(root).expanduser()
        self.size = list(size)
        self.in_channels = in_channels
        self.batch_size = batch_size
        self.workers = workers
        same = input_transforms(size, in_channels, mean=[0.5], std=[0.5])
        varied = [v2.RandomCrop(list(size), padding=pad)] if pad else []
        varied += [v2.RandomHorizontalFlip()] if flip else []
        self._transform = v2.Compose(same)
        self._training_transform = v2.Compose([*same[:3], *varied, *same[3:]])  # still bytes

    @cached_property
    def classes(self) -> list[str]:
        """The names of the classes: the folders of `root/train`. DataError if it has none."""
        classes: list[str] = self._split("train").classes
        return classes

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return len(self.classes)

    @cached_property
    def class_counts(self) -> list[int]:
        """How many training images each class has."""
        return torch.bincount(torch.tensor(self._split("train").targets)).tolist()

    def state_dict(self) -> dict[str, Any]:
        """Return what predicting needs of the images, so that a checkpoint can do without them."""
        return {"classes": self.classes, "class_counts": self.class_counts}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take it from there, as a run's checkpoint has it."""
        self.classes, self.class_counts = state_dict["classes"], state_dict["class_counts"]

    def read(self, path: Path) -> Tensor:
        """Return the image of a file as a net's input, as in an evaluation: (C, height, width)."""
        found: Tensor = self._transform(default_loader(path))
        return found

    def made_up_batch(self) -> list[Tensor]:
        """Return a batch of 16 images of noise, for the dry step."""
        labels = torch.tensor([0, self.num_classes - 1]).repeat(8)
        return [torch.randn(16, self.in_channels, *self.size), labels]

    @property
    def has_validation(self) -> bool:
        """Whether there is a validation split."""
        return (self.root / "validation").is_dir()

    def train_dataloader(self) -> DataLoader[Any]:
        """Return the training images, shuffled; the last, smaller batch is dropped."""
        return self._loader("train")

    def val_dataloader(self) -> DataLoader[Any] | list[Any]:
        """Return the validation split; an empty list if its folder is missing."""
        return self._loader("validation") if self.has_validation else []

    def test_dataloader(self) -> DataLoader[Any]:
        """Return the test split."""
        return self._loader("test")

    def _loader(self, split: str) -> DataLoader[Any]:
        images = self._split(split)
        if images.classes != self.classes:
            raise DataError(f"{self.root / split}: has not the classes of {self.root / 'train'}")
        return DataLoader(
            images,
            self.batch_size,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            shuffle=split == "train",
            drop_last=split == "train",
        )

    def _split(self, split: str) -> ImageFolder:
        transform = self._training_transform if split == "train" else self._transform
        try:
            return ImageFolder(self.root / split, transform)
        except OSError as error:
            why = f"no folder of images: {error}".splitlines()[0]
            raise DataError(f"{self.root / split}: {why}") from error
