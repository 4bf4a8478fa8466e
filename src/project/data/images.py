"""What every data set is here: uint8 images in memory, three splits, and batches of each."""

from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, TypedDict

import torch
from lightning import LightningDataModule
from torch import Tensor, nn
from torchvision.datasets.folder import default_loader
from torchvision.transforms import v2

from gradflow.errors import ConfigError, DataError
from project.data.batches import (
    EvaluationBatches,
    Statistics,
    TrainingBatches,
    channel_statistics,
)


class Images(NamedTuple):
    """N labelled images: uint8 (N, C, H, W) and int64 (N,)."""

    images: Tensor
    labels: Tensor


class Splits(NamedTuple):
    """The three disjoint parts of a data set."""

    train: Images
    validation: Images
    test: Images


class Batching(TypedDict, total=False):
    """What a data set of this kind hands on to `ImageData`, which tells what it means."""

    batch_size: int
    pad: int
    flip: bool
    seed: int
    channels_last: bool


class ImageData(LightningDataModule, ABC):
    """A data set as a config describes it. Building one is cheap and touches no disk.

    Under a trainer, each of its processes gets its own share of every batch, on its own device, and
    an epoch has a whole number of the trainer's groups of accumulated batches. Without one, there
    is one process, and the batches are on the CPU.
    """

    num_classes: int = 10
    in_channels: int = 3
    size: tuple[int, int] = (32, 32)  # height and width
    classes: Sequence[str] | None = None  # their names
    class_counts: Sequence[int] | None = None  # of the training split; None: all are equal
    # One process may run many jobs on the same data: it is read once.
    _loaded: ClassVar[dict[Hashable, tuple[Splits, Statistics]]] = {}

    def __init__(
        self,
        *,
        train_images: int,
        validation: int,
        batch_size: int = 128,
        pad: int = 4,
        flip: bool = True,
        seed: int = 0,
        channels_last: bool = False,
    ) -> None:
        """Check the arguments; ValueError names the first that is out of range.

        train_images: images outside the test split. batch_size: images of a batch, on all
        processes together. validation: images held out of the training ones, as many of each
        class, the same ones for every seed. pad: black pixels around an image before a random
        crop; 0 for no crop. flip: whether every second image, at random, is mirrored left to
        right. seed: order, crops and mirror images follow from it. channels_last: the memory
        layout of a batch.
        """
        super().__init__()
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
        self.train_images = train_images
        self.validation = validation
        self.pad = pad
        self.flip = flip
        self.seed = seed
        self.channels_last = channels_last
        self._state: dict[str, Any] = {}

    @property
    def has_validation(self) -> bool:
        """Whether images are held out."""
        return self.validation > 0

    def require_steps(self, world_size: int, group: int) -> None:
        """Raise ConfigError if the training images are too few for one step.

        `group` batches make a step, on each of `world_size` processes.
        """
        images = self.train_images - self.validation
        if self.batch_size * group > images or self.batch_size % world_size:
            raise ConfigError(
                f"data.batch_size={self.batch_size}: must be at most {images // group}, with "
                f"{images} training images and accumulate={group}, and a multiple of {world_size}, "
                "the number of processes"
            )

    def state_dict(self) -> dict[str, Any]:
        """Return what `read` needs of the images, so that a checkpoint can do without them."""
        mean, std = self._load()[1]
        return {"mean": mean.tolist(), "std": std.tolist()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take it from there, as a run's checkpoint has it."""
        self._state = state_dict

    def read(self, path: Path) -> Tensor:
        """Return the image of a file, resized and normalized as in an evaluation: (C, H, W)."""
        self._state = self._state or self.state_dict()
        transform = v2.Compose(input_transforms(self.size, self.in_channels, **self._state))
        found: Tensor = transform(default_loader(path))
        return found

    def made_up_batch(self) -> Images:
        """Return a batch of 16 images of noise, for the dry step."""
        images = torch.randn(16, self.in_channels, *self.size)
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        labels = torch.tensor([0, self.num_classes - 1]).repeat(8)
        return Images(images.contiguous(memory_format=layout), labels)

    def prepare_data(self) -> None:
        """Fetch the data, in one process of each machine, if it is not there yet. DataError."""
        self.load()

    def setup(self, stage: str | None = None) -> None:
        """Read the data into memory."""
        self.load()

    def load(self) -> Splits:
        """Read the data, or fetch it first; once in a process. DataError if it cannot be had."""
        return self._load()[0]

    def train_dataloader(self) -> TrainingBatches:
        """Return the endless sequence of training batches, at its beginning."""
        (splits, statistics), trainer = self._load(), self.trainer
        batches = TrainingBatches(
            *splits.train,
            statistics,
            seed=self.seed,
            pad=self.pad,
            flip=self.flip,
            group=trainer.accumulate_grad_batches if trainer else 1,
            **self._share(),
        )
        return batches.to(self._device())

    def val_dataloader(self) -> EvaluationBatches | list[Any]:
        """Return the validation split; an empty list, for no validation, if it has no images."""
        return self._evaluation(self.load().validation) if self.validation else []

    def test_dataloader(self) -> EvaluationBatches:
        """Return the test split."""
        return self._evaluation(self.load().test)

    def _load(self) -> tuple[Splits, Statistics]:
        key = (type(self), self.validation, self.identity())
        if key not in self._loaded:
            images, test = self.read_images()
            expected = (self.train_images, self.in_channels, *self.size)
            if images.images.shape != expected or test.images.shape[1:] != expected[1:]:
                raise DataError(
                    f"{type(self).__name__}: images of shape {tuple(images.images.shape)}, and "
                    f"{tuple(test.images.shape)} to test on; train_images, in_channels and size "
                    f"say {expected}"
                )
            train, validation = hold_out(images, self.validation, self.num_classes)
            counts = torch.bincount(train.labels, minlength=self.num_classes).tolist()
            if counts != list(self.class_counts or counts[:1] * self.num_classes):
                raise DataError(
                    f"{type(self).__name__}: class_counts={self.class_counts}: must say how many "
                    f"training images each class has: {counts}"
                )
            statistics = channel_statistics(train.images)
            self._loaded[key] = Splits(train, validation, test), statistics
        return self._loaded[key]

    def _evaluation(self, split: Images) -> EvaluationBatches:
        batches = EvaluationBatches(*split, self._load()[1], **self._share())
        return batches.to(self._device())

    def _share(self) -> dict[str, Any]:
        trainer = self.trainer
        return {
            "batch_size": self.batch_size // (trainer.world_size if trainer else 1),
            "channels_last": self.channels_last,
            "rank": trainer.global_rank if trainer else 0,
            "world_size": trainer.world_size if trainer else 1,
        }

    def _device(self) -> torch.device:
        return self.trainer.strategy.root_device if self.trainer else torch.device("cpu")

    def identity(self) -> Hashable:
        """Return what, beside the class and the validation split, decides the images."""
        return None

    @abstractmethod
    def read_images(self) -> tuple[Images, Images]:
        """Return the images to train and validate on, and those to test on. DataError."""


def input_transforms(
    size: Sequence[int], in_channels: int, *, mean: Sequence[float], std: Sequence[float]
) -> list[nn.Module]:
    """Return torchvision's transforms from a PIL image to a net's input, float32 (C, *size)."""
    return [
        v2.ToImage(),
        v2.Grayscale() if in_channels == 1 else v2.RGB(),
        v2.Resize(list(size), antialias=True),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize(mean, std),
    ]


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
        if len(members) <= count // num_classes:
            raise DataError(
                f"validation={count}: holds out {count // num_classes} images of each class, and "
                f"class {label} has {len(members)}"
            )
        held[members[len(members) - count // num_classes :]] = True
    kept, validation = (~held).nonzero().squeeze(1), held.nonzero().squeeze(1)
    return _select(images, kept), _select(images, validation)


def _select(images: Images, chosen: Tensor) -> Images:
    return Images(images.images.index_select(0, chosen), images.labels.index_select(0, chosen))
