"""Batches against torchvision's own transforms, numpy, and their own promises of order."""

from collections.abc import Iterator
from itertools import islice

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor
from torchvision.transforms import functional as tv

from project.data.batches import (
    EvaluationBatches,
    TrainingBatches,
    channel_statistics,
    crop,
    flip,
)

N = 103  # not a multiple of any batch size below
IMAGES = torch.randint(
    0, 256, (N, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
)
LABELS = torch.arange(N)  # one number each: a batch's labels say which images it holds
STATISTICS = channel_statistics(IMAGES)
Batch = tuple[Tensor, Tensor]


def training(**changes: int) -> TrainingBatches:
    arguments = {"batch_size": 10, "seed": 0, "pad": 4, "flip": True}
    return TrainingBatches(IMAGES, LABELS, STATISTICS, **(arguments | changes))


def evaluation(**changes: int) -> EvaluationBatches:
    return EvaluationBatches(IMAGES, LABELS, STATISTICS, **({"batch_size": 10} | changes))


def forever(batches: TrainingBatches) -> Iterator[Batch]:
    while True:
        yield from batches


def equal(some: list[Batch], others: list[Batch]) -> bool:
    return len(some) == len(others) and all(
        torch.equal(x, u) and torch.equal(y, v) for (x, y), (u, v) in zip(some, others, strict=True)
    )


def test_channel_statistics_are_those_of_numpy_in_float64() -> None:
    values = IMAGES.numpy().astype(np.float64) / 255
    np.testing.assert_allclose(STATISTICS.mean, values.mean((0, 2, 3)), rtol=1e-13)
    np.testing.assert_allclose(STATISTICS.std, values.std((0, 2, 3)), rtol=1e-12)


def test_crop_cuts_what_torchvision_cuts_at_every_offset() -> None:
    top, left = torch.cartesian_prod(torch.arange(9), torch.arange(9)).unbind(1)
    cut = crop(IMAGES[:81], top, left, 4)
    for index in range(81):
        padded = tv.pad(IMAGES[index], [4])
        expected = tv.crop(padded, int(top[index]), int(left[index]), 32, 32)
        assert torch.equal(cut[index], expected)


def test_flip_mirrors_the_chosen_images_and_no_other() -> None:
    chosen = torch.arange(N) % 3 == 0
    flipped = flip(IMAGES, chosen)
    assert torch.equal(flipped[chosen], tv.hflip(IMAGES[chosen]))
    assert torch.equal(flipped[~chosen], IMAGES[~chosen])


@pytest.mark.parametrize("channels_last", [False, True])
def test_training_batches_are_torchvisions_transforms_of_the_same_draws(
    channels_last: bool,
) -> None:
    batches = training(channels_last=channels_last)
    draws = batches._draws(0)
    flips = 0
    for position, (images, labels) in enumerate(batches):
        for place, image in enumerate(images):
            draw = position * 10 + place
            assert labels[place] == draws.order[draw]
            expected = tv.pad(IMAGES[draws.order[draw]], [4])
            expected = tv.crop(expected, int(draws.top[draw]), int(draws.left[draw]), 32, 32)
            if draws.flip[draw]:
                expected, flips = tv.hflip(expected), flips + 1
            expected = tv.normalize(expected.double() / 255, *(s.tolist() for s in STATISTICS))
            torch.testing.assert_close(image.double(), expected, rtol=0, atol=1e-6)
    assert 0 < flips < 100


def test_training_split_is_normalized_to_mean_0_and_variance_1() -> None:
    values = torch.cat([images for images, _ in evaluation()]).double()
    torch.testing.assert_close(values.mean((0, 2, 3)), torch.zeros(3).double(), rtol=0, atol=1e-6)
    torch.testing.assert_close(
        values.var((0, 2, 3), correction=0), torch.ones(3).double(), rtol=0, atol=1e-6
    )


def test_offsets_and_flips_are_uniform() -> None:
    batches = training()
    draws = [batches._draw(epoch) for epoch in range(100)]
    for name, kinds in (("top", 9), ("left", 9), ("flip", 2)):
        values = torch.cat([getattr(draw, name) for draw in draws])
        counts = torch.bincount(values.int(), minlength=kinds)
        assert len(counts) == kinds
        assert scipy.stats.chisquare(counts).pvalue > 1e-4
    pairs = torch.cat([draw.top * 9 + draw.left for draw in draws])  # independent of each other
    assert scipy.stats.chisquare(torch.bincount(pairs, minlength=81)).pvalue > 1e-4


@pytest.mark.parametrize("channels_last", [False, True])
def test_batches_have_the_requested_memory_format_and_the_same_values(channels_last: bool) -> None:
    layout = torch.channels_last if channels_last else torch.contiguous_format
    for make in (training, evaluation):
        images, labels = next(iter(make(channels_last=channels_last)))
        assert images.is_contiguous(memory_format=layout)
        assert images.dtype == torch.float32
        assert labels.dtype == torch.int64
        assert torch.equal(images, next(iter(make()))[0])


def test_an_epoch_has_every_image_once_less_the_last_incomplete_batch() -> None:
    batches = training()
    for _ in range(2):
        seen = torch.cat([labels for _, labels in batches])
        assert len(batches) == 10
        assert len(seen) == len(seen.unique()) == 100


def test_evaluation_keeps_order_and_the_incomplete_batch_and_changes_nothing() -> None:
    batches = evaluation()
    assert len(batches) == 11
    assert [len(labels) for _, labels in batches] == [10] * 10 + [3]
    assert torch.equal(torch.cat([labels for _, labels in batches]), LABELS)
    expected = tv.normalize(IMAGES.double() / 255, *(s.tolist() for s in STATISTICS))
    values = torch.cat([images for images, _ in batches]).double()
    torch.testing.assert_close(values, expected, rtol=0, atol=1e-6)


def test_each_pass_of_an_evaluation_is_whole_also_after_one_that_was_broken_off() -> None:
    batches = evaluation()
    next(iter(batches))
    assert equal(list(batches), list(evaluation()))


def test_the_same_seed_gives_the_same_batches() -> None:
    assert equal(list(islice(forever(training()), 25)), list(islice(forever(training()), 25)))


def test_another_seed_or_epoch_gives_other_batches() -> None:
    batches = training()
    first, second, other = list(batches), list(batches), list(training(seed=1))
    # (seed 0, epoch 1) and (seed 1, epoch 0) are different too.
    for some, others in ((first, second), (first, other), (second, other)):
        assert not any(torch.equal(x[1], y[1]) for x, y in zip(some, others, strict=True))


def test_order_does_not_depend_on_augmentation() -> None:
    plain = training(pad=0, flip=False)
    for (images, labels), (_, augmented) in zip(plain, training(), strict=True):
        assert torch.equal(labels, augmented)
        expected = tv.normalize(IMAGES[labels] / 255, *(s.tolist() for s in STATISTICS))
        torch.testing.assert_close(images, expected, rtol=0, atol=2e-6)


def test_the_global_random_state_is_neither_read_nor_moved() -> None:
    torch.manual_seed(5)
    np.random.seed(5)
    before, numpys = torch.get_rng_state(), np.random.get_state()[1]
    first = list(training())
    assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(np.random.get_state()[1], numpys)
    torch.manual_seed(6)
    assert equal(list(training()), first)


@pytest.mark.parametrize("position", [0, 1, 4, 9, 10, 11, 19, 20, 21])
def test_a_fresh_object_continues_from_the_state_at_any_position(position: int) -> None:
    batches = training()
    # Like a loop that knows the length, and so never asks for the end of an iteration.
    for epoch in range(0, position, len(batches)):
        list(islice(iter(batches), min(position - epoch, len(batches))))
    state = batches.state_dict()
    assert all(type(value) is int for value in state.values())
    fresh = training()
    fresh.load_state_dict(state)
    expected = list(islice(forever(training()), position + 15))[position:]
    assert equal(list(islice(forever(fresh), 15)), expected)


def test_the_state_counts_a_batch_as_soon_as_it_is_yielded() -> None:
    batches = training()
    states = [batches.state_dict() for _ in batches]
    assert states == [{"epoch": 0, "position": k} for k in range(1, 11)]
    next(iter(batches))
    assert batches.state_dict() == {"epoch": 1, "position": 1}


def test_an_iteration_that_was_broken_off_goes_on_after_the_last_batch_yielded() -> None:
    batches = training()
    seen = [*islice(batches, 3), *islice(batches, 4), *batches, *islice(batches, 2)]
    assert equal(seen, list(islice(forever(training()), 12)))


def test_loading_an_earlier_state_moves_the_cursor_back() -> None:
    batches = training()
    state = batches.state_dict()
    next(iter(batches))
    batches.load_state_dict(state)
    assert equal(list(batches), list(training()))


def test_a_cursor_moved_in_the_midst_of_an_iteration_moves_the_iteration() -> None:
    batches = training()
    iteration = iter(batches)
    next(iteration)
    batches.load_state_dict({"epoch": 3, "position": 8})
    rest = list(iteration)
    assert equal(rest, list(islice(forever(training()), 40))[38:])


@pytest.mark.parametrize("world_size", [2, 3])
def test_the_batches_of_all_ranks_together_are_those_of_one_process(world_size: int) -> None:
    ranks = [training(rank=r, world_size=world_size) for r in range(world_size)]
    alone = training(batch_size=10 * world_size)
    assert [len(rank) for rank in ranks] == [len(alone)] * world_size
    for _ in range(2):
        for (images, labels), *shares in zip(alone, *ranks, strict=True):
            assert torch.equal(torch.stack([y for _, y in shares], 1).flatten(), labels)
            assert torch.equal(torch.stack([x for x, _ in shares], 1).flatten(0, 1), images)


@pytest.mark.parametrize("world_size", [2, 3])
def test_an_evaluation_sees_every_image_exactly_once_over_the_ranks(world_size: int) -> None:
    whole = torch.cat([images for images, _ in evaluation()])
    seen = []
    for rank in range(world_size):
        images, labels = zip(*evaluation(rank=rank, world_size=world_size), strict=True)
        seen.append(torch.cat(labels))
        assert torch.equal(torch.cat(images), whole[seen[-1]])
    assert torch.equal(torch.cat(seen).sort().values, LABELS)
    assert max(map(len, seen)) - min(map(len, seen)) <= 1


def test_an_empty_evaluation_has_no_batches() -> None:
    batches = EvaluationBatches(IMAGES[:0], LABELS[:0], STATISTICS, batch_size=10)
    assert len(batches) == len(list(batches)) == 0


def test_the_images_are_shared_not_copied() -> None:
    assert training()._images.data_ptr() == IMAGES.data_ptr()
    assert evaluation()._images.data_ptr() == IMAGES.data_ptr()


def test_moving_to_a_device_returns_the_object_and_changes_no_batch() -> None:
    for make in (training, evaluation):
        batches = make()
        assert batches.to("cpu") is batches
        assert equal(list(batches), list(make()))
    batches = training()
    seen = [*islice(batches, 3), *batches.to("cpu")]  # in the midst of an epoch
    assert equal(seen, list(training()))


def test_everything_moves() -> None:
    for make in (training, evaluation):
        images, labels = next(iter(make().to("meta")))
        assert images.device.type == labels.device.type == "meta"


@pytest.mark.gpu
def test_batches_on_an_accelerator_are_bit_for_bit_those_of_the_cpu() -> None:
    for make in (training, evaluation):
        batches = make(channels_last=True).to("cuda")
        assert all(x.device.type == y.device.type == "cuda" for x, y in batches)
        batches = make(channels_last=True).to("cuda")
        assert equal([(x.cpu(), y.cpu()) for x, y in batches], list(make(channels_last=True)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": -1}, "seed=-1: must be at least 0"),
        ({"batch_size": 104}, "batch_size=104: must be at most 103"),
        ({"batch_size": 52, "world_size": 2}, "batch_size=52: must be at most 51"),
    ],
)
def test_impossible_arguments_are_refused(changes: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        training(**changes)


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"epoch": 0},
        {"epoch": 0, "position": 11},
        {"epoch": 0, "position": -1},
        {"epoch": -1, "position": 0},
    ],
)
def test_a_state_of_other_batches_is_refused(state: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="state="):
        training().load_state_dict(state)
