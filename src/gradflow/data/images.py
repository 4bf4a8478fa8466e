"""What every data set is here: uint8 images in memory, three splits, and batches of each.

Knows the splits; not where images come from (`cifar10.py`, `synthetic.py`), nor how a batch is
cut (`batches.py`).
"""

from abc import ABC, abstractmethod
from collections.abc import Hashable
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from gradflow.data.batches import Batches, EvaluationBatches, TrainingBatches, channel_statistics


class Images(NamedTuple):
    """N labelled images: uint8 (N, 3, 32, 32) and int64 (N,)."""

    images: Tensor
    labels: Tensor


class Splits(NamedTuple):
    """The three disjoint parts of a data set."""

    train: Images
    validation: Images
    test: Images


class SplitBatches(NamedTuple):
    """One sequence of batches for each split."""

    train: Batches
    validation: Batches
    test: Batches


class ImageData(ABC):
    """A data set as a config describes it. Building one is cheap and touches no disk."""

    num_classes: ClassVar[int] = 10
    # One process may run many jobs on the same data: it is read once.
    _loaded: ClassVar[dict[Hashable, Splits]] = {}

    def __init__(
        self, *, train_images: int, batch_size: int, validation: int, pad: int, flip: bool
    ) -> None:
        """Check the arguments; ValueError names the first that is out of range.

        train_images: images outside the test split. batch_size: images of a batch, on each
        process. validation: images held out of the training ones, as many of each class, the same
        ones for every seed. pad: black pixels around an image before a random crop; 0 for no
        crop. flip: whether every second image, at random, is mirrored left to right.
        """
        check_integer("validation", validation, 0, train_images - self.num_classes)
        if validation % self.num_classes:
            raise ValueError(
                f"validation={validation}: must be a multiple of the {self.num_classes} classes, "
                f"from 0 to {train_images - self.num_classes}"
            )
        check_integer("batch_size", batch_size, 1, train_images - validation)
        check_integer("pad", pad, 0, 31)
        if not isinstance(flip, bool):
            raise ValueError(f"flip={flip}: must be true or false")
        self.batch_size = batch_size
        self.validation = validation
        self.pad = pad
        self.flip = flip

    def load(self) -> Splits:
        """Read the data, or fetch it first; once in a process. DataError if it cannot be had."""
        key = (type(self), self.validation, self._identity())
        if key not in self._loaded:
            train, test = self._read()
            self._loaded[key] = Splits(*hold_out(train, self.validation, self.num_classes), test)
        return self._loaded[key]

    def batches(
        self,
        splits: Splits,
        *,
        seed: int,
        channels_last: bool = False,
        rank: int = 0,
        world_size: int = 1,
    ) -> SplitBatches:
        """Make the batches of the three splits, for one of `world_size` processes.

        All are normalized with the statistics of the training split. Move each with `.to(device)`.
        """
        statistics = channel_statistics(splits.train.images)
        train = TrainingBatches(
            *splits.train,
            statistics,
            batch_size=self.batch_size,
            seed=seed,
            pad=self.pad,
            flip=self.flip,
            channels_last=channels_last,
            rank=rank,
            world_size=world_size,
        )
        validation, test = (
            EvaluationBatches(
                *split,
                statistics,
                batch_size=self.batch_size,
                channels_last=channels_last,
                rank=rank,
                world_size=world_size,
            )
            for split in (splits.validation, splits.test)
        )
        return SplitBatches(train, validation, test)

    @abstractmethod
    def _identity(self) -> Hashable:
        """Return what, beside the class and the validation split, decides the images."""

    @abstractmethod
    def _read(self) -> tuple[Images, Images]:
        """Return the images to train and validate on, and those to test on."""


def check_integer(name: str, value: int, low: int, high: int) -> None:
    """Raise ValueError unless `value` is an integer from `low` to `high`."""
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ValueError(f"{name}={value}: must be an integer from {low} to {high}")


def hold_out(images: Images, count: int, num_classes: int) -> tuple[Images, Images]:
    """Split off the last count / num_classes images of every class; both parts keep their order.

    No randomness: CIFAR-10 comes in random order, and runs of all seeds validate on one split.
    """
    held = torch.zeros(len(images.labels), dtype=torch.bool)
    for label in range(num_classes):
        members = (images.labels == label).nonzero().squeeze(1)
        held[members[len(members) - count // num_classes :]] = True
    kept, validation = (~held).nonzero().squeeze(1), held.nonzero().squeeze(1)
    return _select(images, kept), _select(images, validation)


def _select(images: Images, chosen: Tensor) -> Images:
    return Images(images.images.index_select(0, chosen), images.labels.index_select(0, chosen))
