"""Measure images per CPU second: whole batches against torchvision's per-sample PIL pipeline.

Both crop (padding 4), flip, scale and normalize 32 x 32 images into batches of float32, on one
thread. They take turns, round by round, so that a busy neighbour slows both. Figures are medians
over the rounds, with the smallest and the largest.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from PIL import Image
from torchvision import transforms

from project.data.batches import Statistics, TrainingBatches, channel_statistics

IMAGES = 45_000  # CIFAR-10's training split; their content makes no difference
BATCH = 128


class Round(NamedTuple):
    """Images per second of one round, in CPU time and in wall time."""

    cpu: float
    wall: float


def pil_batches(images: torch.Tensor, channels: Statistics) -> Iterator[torch.Tensor]:
    """Yield shuffled batches, image by image, as a torchvision dataset makes them."""
    transform = transforms.Compose(
        [
            transforms.RandomCrop(32, padding=4),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(channels.mean.tolist(), channels.std.tolist()),
        ]
    )
    pixels = images.permute(0, 2, 3, 1).contiguous().numpy()
    while True:
        for chosen in torch.split(torch.randperm(len(pixels)), BATCH):
            yield torch.stack([transform(Image.fromarray(pixels[i])) for i in chosen])


def whole_batches(
    images: torch.Tensor, channels: Statistics, *, channels_last: bool
) -> Iterator[torch.Tensor]:
    """Yield shuffled batches as training does."""
    batches = TrainingBatches(
        images,
        torch.zeros(len(images), dtype=torch.int64),
        channels,
        batch_size=BATCH,
        seed=0,
        pad=4,
        flip=True,
        channels_last=channels_last,
    )
    while True:
        yield from (x for x, _ in batches)


def timed(take: Callable[[], torch.Tensor], count: int) -> Round:
    """Time `count` batches."""
    cpu, wall = time.process_time(), time.perf_counter()
    for _ in range(count):
        take()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return Round(count * BATCH / cpu, count * BATCH / wall)


def spread(values: Sequence[float], form: str = ",.0f") -> str:
    """Format the median of `values`, and their range."""
    low, high = min(values), max(values)
    return f"{statistics.median(values):{form}} ({low:{form}} to {high:{form}})"


def main(argv: Sequence[str]) -> None:
    """Run the benchmark with command-line arguments `argv`, and print the results."""
    parser = argparse.ArgumentParser(prog="benchmark.py data", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="10 or more for a figure to quote")
    rounds = parser.parse_args(argv).rounds

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    images = torch.randint(0, 256, (IMAGES, 3, 32, 32), dtype=torch.uint8)
    channels = channel_statistics(images)
    # The numbers of batches make rounds of about half a second.
    pipelines = {
        "torchvision, per sample (PIL)": (pil_batches(images, channels), 20),
        "gradflow": (whole_batches(images, channels, channels_last=False), 500),
        "gradflow, channels_last": (whole_batches(images, channels, channels_last=True), 500),
    }
    seen: dict[str, list[Round]] = {name: [] for name in pipelines}
    for number in range(rounds + 1):
        for name, (pipeline, count) in pipelines.items():
            result = timed(pipeline.__next__, count)
            if number:  # the first round warms up
                seen[name].append(result)
    torch.set_num_threads(threads)

    print(f"Batches of {BATCH}, one thread, n = {rounds} interleaved rounds: median (range)")
    baseline = next(iter(seen.values()))
    for name, results in seen.items():
        ratios = [own.cpu / other.cpu for own, other in zip(results, baseline, strict=True)]
        print(name)
        print("  images per CPU second ", spread([result.cpu for result in results]))
        print("  images per second     ", spread([result.wall for result in results]))
        if results is not baseline:
            print("  times the rate of PIL ", spread(ratios, ".1f"), "in CPU time")
