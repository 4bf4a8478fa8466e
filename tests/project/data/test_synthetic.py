"""The synthetic classes can be learned, but not at a glance, and survive augmentation."""

import torch
import torch.nn.functional as F
from torch import Tensor

from project.data import Synthetic
from project.data.batches import Batches


def linear_accuracy(train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor]) -> float:
    """Test accuracy of logistic regression on the pixels, with a small weight penalty."""
    inputs = train[0].flatten(1)
    weights = torch.zeros(inputs.shape[1], 10, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=40, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(inputs @ weights, train[1]) + 0.01 * weights.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    guesses = (test[0].flatten(1) @ weights).argmax(1)
    return (guesses == test[1]).float().mean().item()


def gathered(batches: Batches) -> tuple[Tensor, Tensor]:
    images, labels = zip(*batches, strict=True)
    return torch.cat(images), torch.cat(labels)


def test_shapes_are_those_of_cifar10_and_classes_are_equal_in_number() -> None:
    splits = Synthetic(train_images=200, test_images=50, validation=40, batch_size=16).load()
    for split, count in zip(splits, (160, 40, 50), strict=True):
        assert split.images.shape == (count, 3, 32, 32)
        assert split.images.dtype == torch.uint8
        assert split.labels.dtype == torch.int64
        assert torch.bincount(split.labels).tolist() == [count // 10] * 10


def test_a_linear_classifier_learns_the_classes_from_augmented_batches() -> None:
    data = Synthetic(train_images=1200, test_images=300, validation=200, batch_size=50)
    train, test = gathered(data.train_dataloader()), gathered(data.test_dataloader())
    assert linear_accuracy(train, test) > 0.7
    shuffled = train[1][torch.randperm(1000, generator=torch.Generator().manual_seed(0))]
    assert linear_accuracy((train[0], shuffled), test) < 0.2


def test_one_pixel_does_not_tell_the_class() -> None:
    splits = Synthetic().load()
    train, test = (
        ((s.images[:, :, 16, 16] - 128.0) / 50, s.labels) for s in (splits.train, splits.test)
    )
    assert linear_accuracy(train, test) < 0.35


def test_train_and_test_have_no_image_in_common() -> None:
    splits = Synthetic().load()
    images = torch.cat([split.images.flatten(1) for split in splits])
    assert len({image.tobytes() for image in images.numpy()}) == len(images) == 3000
