"""What all data sets share: the held-out split, the arguments, and being read once."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from gradflow.errors import DataError
from project.data import CIFAR10, ImageData, Images, Synthetic
from project.data.images import hold_out


def numbered(count: int) -> Images:
    """Images with their number written into the first four pixels, classes in random order."""
    images = torch.zeros(count, 3, 32, 32, dtype=torch.uint8)
    images[:, 0, 0, 0] = torch.arange(count) % 256
    images[:, 0, 0, 1] = torch.arange(count) // 256
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    return Images(images, (torch.arange(count) % 10)[order])


def numbers(images: Images) -> torch.Tensor:
    first = images.images[:, 0, 0].int()
    return first[:, 0] + 256 * first[:, 1]


def test_the_validation_split_is_stratified_disjoint_and_complete() -> None:
    whole = numbered(1000)
    train, validation = hold_out(whole, 200, 10)
    assert torch.bincount(validation.labels).tolist() == [20] * 10
    assert torch.bincount(train.labels).tolist() == [80] * 10
    together = torch.cat([numbers(train), numbers(validation)])
    assert torch.equal(together.sort().values, torch.arange(1000, dtype=torch.int32))
    for part in (train, validation):  # each image kept its label
        assert torch.equal(part.labels, whole.labels[numbers(part).long()])


def test_validation_0_holds_out_no_image() -> None:
    train, validation = hold_out(numbered(100), 0, 10)
    assert len(train.labels) == 100
    assert len(validation.labels) == 0
    data = Synthetic(validation=0)
    assert data.val_dataloader() == []


def test_the_held_out_images_are_the_same_for_every_seed() -> None:
    first, second = (Synthetic(seed=seed).val_dataloader() for seed in (0, 1))
    for (x, y), (u, v) in zip(first, second, strict=True):
        assert torch.equal(x, u)
        assert torch.equal(y, v)


def test_batches_of_all_splits_are_normalized_by_the_training_split() -> None:
    data = Synthetic(train_images=100, test_images=20, validation=20, batch_size=10, pad=0)
    splits = data.load()
    pixels = splits.train.images.double() / 255
    mean, std = pixels.mean((0, 2, 3)), pixels.std((0, 2, 3), correction=0)
    made_of = ((splits.validation, data.val_dataloader()), (splits.test, data.test_dataloader()))
    for split, made in made_of:
        expected = (split.images.double() / 255 - mean.view(3, 1, 1)) / std.view(3, 1, 1)
        values = torch.cat([images for images, _ in made]).double()
        torch.testing.assert_close(values, expected, rtol=0, atol=1e-6)
        assert torch.equal(torch.cat([labels for _, labels in made]), split.labels)


def test_ten_jobs_of_one_process_read_the_data_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageData, "_loaded", {})
    first = Synthetic().load()
    assert all(Synthetic(batch_size=10 + job).load() is first for job in range(9))
    assert Synthetic(validation=100).load() is not first
    assert Synthetic(test_images=100).load() is not first


@pytest.mark.parametrize("make", [CIFAR10, Synthetic])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 0}, "batch_size=0: must be an integer from 1 to"),
        ({"batch_size": 2.5}, "batch_size=2.5: must be an integer"),
        ({"batch_size": True}, "batch_size=True: must be an integer"),
        ({"batch_size": 45001, "validation": 5000}, r"(batch_size=45001|validation=5000): must"),
        ({"validation": 55}, "validation=55: must be a multiple of the 10 classes, from 0 to"),
        ({"validation": -10}, "validation=-10: must be an integer from 0 to"),
        ({"validation": 50000}, "validation=50000: must be an integer from 0 to"),
        ({"pad": -1}, "pad=-1: must be an integer from 0 to 31"),
        ({"pad": 32}, "pad=32: must be an integer from 0 to 31"),
        ({"flip": 1}, "flip=1: must be true or false"),
    ],
)
def test_arguments_out_of_range_are_refused_in_one_line(
    make: Callable[..., ImageData], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message) as refusal:
        make(**changes)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source": "kaggle"}, "source=kaggle: must be one or more of torchvision, zenodo, brain"),
        ({"source": []}, r"source=\[\]: must name at least one of torchvision"),
        ({"source": ["npm", "npm"]}, "must name each source once"),
        ({"min_rate": -1.0}, "min_rate=-1.0: must be a number of kB/s, at least 0"),
        ({"min_rate": float("nan")}, "min_rate=nan"),
        ({"stall_timeout": 0.0}, "stall_timeout=0.0: must be a number of seconds over 0"),
    ],
)
def test_impossible_sources_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CIFAR10(**changes)


@pytest.mark.parametrize("changes", [{"train_images": 2501}, {"test_images": 0}])
def test_impossible_numbers_of_synthetic_images_are_refused(changes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be a"):
        Synthetic(**changes)


def test_one_source_may_be_given_as_a_word() -> None:
    assert CIFAR10(source="npm").source == CIFAR10(source=["npm"]).source == ["npm"]


def test_building_a_data_set_touches_no_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    CIFAR10()
    assert list(tmp_path.iterdir()) == []


class Unequal(ImageData):
    """Three classes of 60, 30 and 10 images."""

    num_classes, in_channels, size = 3, 1, (4, 4)

    def __init__(self, validation: int = 0) -> None:
        super().__init__(train_images=100, validation=validation, batch_size=10)

    def read_images(self) -> tuple[Images, Images]:
        labels = torch.arange(3).repeat_interleave(torch.tensor([60, 30, 10]))
        images = torch.zeros(100, 1, 4, 4, dtype=torch.uint8)
        images[::2] = 255
        return Images(images, labels), Images(images[:9], labels[:9])


def test_unequal_classes_must_be_told() -> None:
    with pytest.raises(DataError, match=r"class_counts=None: must say .* has: \[60, 30, 10\]$"):
        Unequal().load()
    told = type("Told", (Unequal,), {"class_counts": [60, 30, 10]})
    assert len(told().load().train.labels) == 100
    wrong = type("Wrong", (Unequal,), {"class_counts": [50, 30, 20]})
    with pytest.raises(DataError, match=r"class_counts=\[50, 30, 20\]"):
        wrong().load()


def test_a_class_that_is_too_small_for_the_validation_split_is_named() -> None:
    with pytest.raises(DataError, match=r"validation=30: holds out 10 .* class 2 has 10$"):
        Unequal(validation=30).load()
