"""Crop, flip and normalize whole batches of images on the device that holds the images.

Knows tensors and random sequences, but neither the source of the images nor the training.
Shapes: N images in the split, B in a batch, C channels of H x W pixels, p pixels of padding.

All random numbers come from CPU generators seeded with (seed, epoch). So batches are the same on
every device, and the global random state is neither read nor changed.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import NamedTuple, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


class Statistics(NamedTuple):
    """Mean and population standard deviation per channel, for pixels in [0, 1]; float64 (C,)."""

    mean: Tensor
    std: Tensor


def channel_statistics(images: Tensor) -> Statistics:
    """Compute the exact channel statistics of any number of uint8 images (N, C, H, W)."""
    total = torch.zeros(images.shape[1], dtype=torch.float64)
    squares = torch.zeros_like(total)
    # A row's sum of squares is an integer, exact in float32 below 2^24: up to 258 pixels.
    dtype = torch.float32 if images.shape[3] <= 258 else torch.float64
    for chunk in torch.split(images, 256):  # fits into the CPU's cache
        values = chunk.to(dtype)
        total += values.sum(3).double().sum((0, 2))
        squares += values.square_().sum(3).double().sum((0, 2))
    count = images.numel() / images.shape[1]
    mean = total / count
    return Statistics(mean / 255, (squares / count - mean.square()).sqrt() / 255)


def crop(images: Tensor, top: Tensor, left: Tensor, pad: int) -> Tensor:
    """Pad each image with `pad` black pixels, and crop it to its old size at (top, left).

    images: (B, C, H, W); top, left: int64 (B,), each from 0 to 2 * pad. Returns (B, C, H, W).

    In a padded image stored row by row, a crop of H rows is one contiguous block, except that the
    end of each row is cut off. So one index_select copies whole blocks, several times as fast as
    gathering bytes. An extra row at the bottom keeps the last block inside its image.
    """
    count, channels, height, width = images.shape
    row = width + 2 * pad
    padded = F.pad(images, (pad, pad, pad, pad + 1))
    plane = padded.shape[2] * row
    first = torch.arange(0, count * channels * plane, plane, device=images.device)
    start = first.view(count, channels) + (top * row + left).unsqueeze(1)
    blocks = padded.view(-1).unfold(0, height * row, 1).index_select(0, start.view(-1))
    return blocks.view(count, channels, height, row)[..., :width]


def flip(images: Tensor, selected: Tensor) -> Tensor:
    """Mirror the `selected` images, bool (B,), left to right. images: uint8 (B, C, H, W)."""
    mirrored, kept = images.flip(3), images.contiguous()
    if images.shape[3] % 8 == 0:  # copy eight pixels at a time, as one integer
        mirrored, kept = mirrored.view(torch.int64), kept.view(torch.int64)
    return torch.where(selected.view(-1, 1, 1, 1), mirrored, kept).view(torch.uint8)


class Batches(ABC):
    """A sized iterable of (images, labels): float32 (B, C, H, W), normalized, and int64 (B,)."""

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        statistics: Statistics,
        *,
        batch_size: int,
        channels_last: bool,
    ) -> None:
        """Keep uint8 images (N, C, H, W) and int64 labels (N,), without copying them."""
        self.batch_size = batch_size
        self._images = images
        self._labels = labels
        # (x / 255 - mean) / std, as one product and one sum. They are never fused, so that values
        # are the same on every device.
        self._factor = (1 / (255 * statistics.std)).float().view(-1, 1, 1)
        self._term = (-statistics.mean / statistics.std).float().view(-1, 1, 1)
        self._layout = torch.channels_last if channels_last else torch.contiguous_format

    def to(self, device: torch.device | str) -> Self:
        """Move the images to `device`; batches are made there from now on."""
        self._images = self._images.to(device)
        self._labels = self._labels.to(device)
        self._factor = self._factor.to(device)
        self._term = self._term.to(device)
        return self

    def _normalize(self, images: Tensor) -> Tensor:
        values = images.float().mul_(self._factor).add_(self._term)
        return values.contiguous(memory_format=self._layout)

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]: ...


class EvaluationBatches(Batches):
    """Yield every image once, in order, without augmentation; the last batch may be smaller.

    Each rank takes its interleaved share, so ranks may differ by one batch. Each `iter()` is a
    full pass from the first image, so there is no state.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        statistics: Statistics,
        *,
        batch_size: int,
        channels_last: bool = False,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        """Take the images of all ranks; keep those of `rank`."""
        super().__init__(
            images[rank::world_size],
            labels[rank::world_size],
            statistics,
            batch_size=batch_size,
            channels_last=channels_last,
        )

    def __len__(self) -> int:
        return -(-len(self._labels) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for start in range(0, len(self._labels), self.batch_size):
            rows = slice(start, start + self.batch_size)
            yield self._normalize(self._images[rows]), self._labels[rows]


class _Draws(NamedTuple):
    """Random numbers of an epoch for each image of one rank, in shuffled order; each (N,)."""

    order: Tensor
    top: Tensor
    left: Tensor
    flip: Tensor


class TrainingBatches(Batches):
    """Yield an endless, seeded sequence of shuffled, cropped and flipped batches, by epochs.

    The object is a cursor (epoch, position) into that sequence. `iter()` continues from the cursor
    to the end of its epoch; from there, it begins the next epoch. An interrupted iteration
    continues after the last batch yielded, in this process or, through `state_dict`, in another.
    So an epoch has each image exactly once. To look ahead without moving the cursor, save the
    state before and load it after.

    A step accumulates a `group` of batches; an epoch drops its last incomplete group. Each rank
    takes its interleaved share of the same order. So the k-th batches of all ranks together are
    the k-th batch of a single process with batch_size * world_size.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        statistics: Statistics,
        *,
        batch_size: int,
        seed: int,
        pad: int,
        flip: bool,
        channels_last: bool = False,
        rank: int = 0,
        world_size: int = 1,
        group: int = 1,
    ) -> None:
        """Take the images of all ranks. ValueError if they do not fill one group per rank."""
        super().__init__(
            images, labels, statistics, batch_size=batch_size, channels_last=channels_last
        )
        if seed < 0:
            raise ValueError(f"seed={seed}: must be at least 0")
        if batch_size * world_size * group > len(labels):
            raise ValueError(
                f"batch_size={batch_size}: must be at most {len(labels) // world_size // group}, "
                f"with {len(labels)} training images on {world_size} process(es) and {group} "
                "batch(es) a step"
            )
        self._seed = seed
        self._pad = pad
        self._flip = flip
        self._rank = rank
        self._world_size = world_size
        self._length = len(labels) // (batch_size * world_size) // group * group
        self._epoch = 0
        self._position = 0
        self._drawn: tuple[int, _Draws] | None = None

    def __len__(self) -> int:
        return self._length

    def to(self, device: torch.device | str) -> Self:
        """Move the images to `device`; the batches stay the same."""
        self._drawn = None
        return super().to(device)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        # The cursor moves before the yield: a caller that knows the length never asks for the end,
        # and a checkpoint saved while a batch is in use must resume at the next batch.
        if self._position == len(self):
            self._epoch += 1
            self._position = 0
        while self._position < len(self):
            position = self._position
            self._position += 1
            yield self._batch(self._draws(self._epoch), position)

    def state_dict(self) -> dict[str, int]:
        """Return the epoch, from 0, and the number of batches yielded in it."""
        return {"epoch": self._epoch, "position": self._position}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Move the cursor. ValueError if the state does not fit these batches."""
        if set(state) != {"epoch", "position"}:
            raise ValueError(f"state={dict(state)}: must have the keys epoch and position")
        if state["epoch"] < 0 or not 0 <= state["position"] <= len(self):
            raise ValueError(
                f"state={dict(state)}: an epoch has {len(self)} batches here; "
                "was it saved with other data, another batch size or number of processes?"
            )
        self._epoch, self._position = state["epoch"], state["position"]

    def _draws(self, epoch: int) -> _Draws:
        if self._drawn is None or self._drawn[0] != epoch:
            self._drawn = (epoch, self._draw(epoch))
        return self._drawn[1]

    def _draw(self, epoch: int) -> _Draws:
        # SeedSequence mixes both, so that (0, 1) and (1, 0) give independent numbers.
        mixed = np.random.SeedSequence([self._seed, epoch]).generate_state(1, np.uint64)
        generator = torch.Generator().manual_seed(int(mixed[0]))
        count = len(self._labels)
        order = torch.randperm(count, generator=generator)
        top, left = torch.randint(2 * self._pad + 1, (2, count), generator=generator)
        flipped = torch.randint(2, (count,), generator=generator).bool() & self._flip
        used = len(self) * self.batch_size * self._world_size
        share = slice(self._rank, used, self._world_size)
        device = self._labels.device
        return _Draws(*(draw[share].to(device) for draw in (order, top, left, flipped)))

    def _batch(self, draws: _Draws, position: int) -> tuple[Tensor, Tensor]:
        rows = slice(position * self.batch_size, (position + 1) * self.batch_size)
        order = draws.order[rows]
        images = self._images.index_select(0, order)
        if self._pad:
            images = crop(images, draws.top[rows], draws.left[rows], self._pad)
        if self._flip:
            images = flip(images, draws.flip[rows])
        return self._normalize(images), self._labels.index_select(0, order)
