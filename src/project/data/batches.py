"""Batches cut, cropped, flipped and normalized as a whole, on the device of the images.

Knows tensors and random sequences; not where the images come from, nor who trains on them.
Shapes: N images of the split, B of a batch, C channels of H x W pixels, p pixels of padding.

All randomness comes from CPU generators seeded with (seed, epoch): the same batches on every
device, and the global random state is neither read nor moved.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import NamedTuple, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


class Statistics(NamedTuple):
    """Mean and (population) standard deviation per channel, of values in [0, 1]; float64, (C,)."""

    mean: Tensor
    std: Tensor


def channel_statistics(images: Tensor) -> Statistics:
    """Compute the exact statistics of uint8 images (N, C, H, W), whatever their number."""
    total = torch.zeros(images.shape[1], dtype=torch.float64)
    squares = torch.zeros_like(total)
    # A row's sum of squares is an integer. In float32 it is exact below 2^24, up to 258 pixels.
    kind = torch.float32 if images.shape[3] <= 258 else torch.float64
    for chunk in torch.split(images, 256):  # stays in the processor's cache
        values = chunk.to(kind)
        total += values.sum(3).double().sum((0, 2))
        squares += values.square_().sum(3).double().sum((0, 2))
    count = images.numel() / images.shape[1]
    mean = total / count
    return Statistics(mean / 255, (squares / count - mean.square()).sqrt() / 255)


def crop(images: Tensor, top: Tensor, left: Tensor, pad: int) -> Tensor:
    """Pad each image with `pad` black pixels and cut its own size out again, at (top, left).

    images: (B, C, H, W); top, left: int64 (B,), each from 0 to 2 * pad. Returns (B, C, H, W).

    In a padded image stored row by row, a crop of H rows is one contiguous stretch, with the ends
    of the rows to be dropped. So one index_select copies whole stretches, several times as fast
    as gathering bytes; one row more below keeps the last stretch inside its own image.
    """
    count, channels, height, width = images.shape
    row = width + 2 * pad
    padded = F.pad(images, (pad, pad, pad, pad + 1))
    plane = padded.shape[2] * row
    first = torch.arange(0, count * channels * plane, plane, device=images.device)
    start = first.view(count, channels) + (top * row + left).unsqueeze(1)
    stretches = padded.view(-1).unfold(0, height * row, 1).index_select(0, start.view(-1))
    return stretches.view(count, channels, height, row)[..., :width]


def flip(images: Tensor, chosen: Tensor) -> Tensor:
    """Mirror those images left to right that `chosen`, bool (B,), names. uint8 (B, C, H, W)."""
    mirrored, kept = images.flip(3), images.contiguous()
    if images.shape[3] % 8 == 0:  # eight pixels are copied at a time, as one integer
        mirrored, kept = mirrored.view(torch.int64), kept.view(torch.int64)
    return torch.where(chosen.view(-1, 1, 1, 1), mirrored, kept).view(torch.uint8)


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
        """Take uint8 images (N, C, H, W) and int64 labels (N,), which are kept, not copied."""
        self.batch_size = batch_size
        self._images = images
        self._labels = labels
        # (x / 255 - mean) / std, as one factor and one term. A product and then a sum, never one
        # fused operation: that is what makes the values the same on every device.
        self._factor = (1 / (255 * statistics.std)).float().view(-1, 1, 1)
        self._term = (-statistics.mean / statistics.std).float().view(-1, 1, 1)
        self._layout = torch.channels_last if channels_last else torch.contiguous_format

    def to(self, device: torch.device | str) -> Self:
        """Move the images to `device`, where the batches are made from then on."""
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
    """Every image once, in order, unchanged; the last batch may be smaller.

    Each rank takes its interleaved share, so their numbers of batches may differ by one.
    Each `iter()` is a whole pass from the first image, so there is no state to keep.
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
            chosen = slice(start, start + self.batch_size)
            yield self._normalize(self._images[chosen]), self._labels[chosen]


class _Draws(NamedTuple):
    """What one epoch draws for each of its images, in their new order; all (N,), one rank's."""

    order: Tensor
    top: Tensor
    left: Tensor
    flip: Tensor


class TrainingBatches(Batches):
    """An endless, seeded sequence of shuffled, cropped and flipped batches, epoch after epoch.

    The object is a cursor (epoch, position) into that sequence. `iter()` goes on from the cursor
    to the end of its epoch; at the end, it begins the next epoch. So an iteration that is broken
    off goes on with the batch after the last one yielded, in this process or, through
    `state_dict`, in another: no image is seen twice in an epoch, or never. Whoever only wants to
    look takes the state before and loads it after.

    An epoch is N images less the last incomplete group of `group` batches, whose gradients one
    step accumulates. Of several ranks, each takes its interleaved share of the same order, so that
    the k-th batches of all ranks together are the k-th batch of one process with
    batch_size * world_size.
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
        """Take the images of all ranks. ValueError when they do not fill one group on each."""
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
        # Both before the yield: a caller that knows the length never comes back for the end, and
        # a checkpoint taken while a batch is in use must resume at the next one.
        if self._position == len(self):
            self._epoch += 1
            self._position = 0
        while self._position < len(self):
            position = self._position
            self._position += 1
            yield self._batch(self._draws(self._epoch), position)

    def state_dict(self) -> dict[str, int]:
        """Return the epoch, from 0, and the number of its batches already yielded."""
        return {"epoch": self._epoch, "position": self._position}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Move the cursor. ValueError for a state that these batches cannot have."""
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
        # SeedSequence mixes the two, so that (0, 1) and (1, 0) have nothing in common.
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
        chosen = slice(position * self.batch_size, (position + 1) * self.batch_size)
        order = draws.order[chosen]
        images = self._images.index_select(0, order)
        if self._pad:
            images = crop(images, draws.top[chosen], draws.left[chosen], self._pad)
        if self._flip:
            images = flip(images, draws.flip[chosen])
        return self._normalize(images), self._labels.index_select(0, order)
