"""The real data, whole, against digests and figures that others published."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from project.data import CIFAR10
from project.data.batches import channel_statistics
from project.data.cifar10 import rows

# md5 sums of data_batch_1.bin … data_batch_5.bin and test_batch.bin of the binary edition.
BINARY = [
    "5dd7e06a14cb22eb9f671a540d1b7c25",
    "5ea93a67294ea407fff1d09f752e9692",
    "942cd6a4bcdd0dd3c604fbe906cb4421",
    "ae636b3ba5c66a11e91e8cb52e771fcb",
    "53f37980c15c3d472c316c40844f3f0d",
    "803d5f7f4d78ea53de84dbe85f74fb6d",
]


def test_the_rows_are_the_six_files_of_the_binary_edition(cifar10_root: Path) -> None:
    whole = rows.read(cifar10_root)
    assert [hashlib.md5(part.tobytes()).hexdigest() for part in np.split(whole, 6)] == BINARY


def test_the_splits_hold_every_image_with_its_label(cifar10_root: Path) -> None:
    train, validation, test = CIFAR10(root=cifar10_root).load()
    whole = rows.read(cifar10_root)
    assert torch.bincount(train.labels).tolist() == [4500] * 10
    assert torch.bincount(validation.labels).tolist() == [500] * 10
    assert torch.bincount(test.labels).tolist() == [1000] * 10
    assert np.array_equal(test.labels.numpy(), whole[50_000:, 0])
    assert np.array_equal(test.images.flatten(1).numpy(), whole[50_000:, 1:])
    # Merged again by class, the two parts are the training rows of that class, in order.
    for label in range(10):
        parts = [part.images[part.labels == label].flatten(1) for part in (train, validation)]
        members = whole[:50_000][whole[:50_000, 0] == label, 1:]
        assert np.array_equal(torch.cat(parts).numpy(), members)


def test_the_statistics_are_those_that_everybody_quotes(cifar10_root: Path) -> None:
    train, _, _ = CIFAR10(root=cifar10_root, validation=0).load()
    statistics = channel_statistics(train.images)
    assert statistics.mean.tolist() == pytest.approx([0.4914, 0.4822, 0.4465], abs=5e-5)
    assert statistics.std.tolist() == pytest.approx([0.2470, 0.2435, 0.2616], abs=5e-5)


def test_the_first_images_have_the_labels_that_torchvision_lists(cifar10_root: Path) -> None:
    train, _, test = CIFAR10(root=cifar10_root).load()
    assert train.labels[:10].tolist() == [6, 9, 9, 4, 1, 1, 2, 7, 8, 3]  # a frog first
    assert test.labels[:10].tolist() == [3, 8, 8, 0, 6, 6, 1, 6, 3, 1]  # a cat first
