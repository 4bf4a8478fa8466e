"""A folder of images as people have them: grey, 28 x 40 pixels, seven classes of unequal size."""

from pathlib import Path

import numpy as np
from PIL import Image

SIZE = (28, 40)
CLASSES = [f"kind_{k}" for k in range(7)]
TRAIN = [40, 20, 13, 10, 8, 6, 5]  # images of each class
DATA = [
    "data=folder",
    f"data.size=[{SIZE[0]},{SIZE[1]}]",
    "data.in_channels=1",
    "data.batch_size=16",
    "data.workers=1",
]


def make(root: Path) -> list[str]:
    """Write the three splits under `root`; return the overrides that use them."""
    numbers = np.random.default_rng(0)
    for split, counts in (("train", TRAIN), ("validation", [4] * 7), ("test", [3] * 7)):
        for k, (name, count) in enumerate(zip(CLASSES, counts, strict=True)):
            folder = root / split / name
            folder.mkdir(parents=True)
            for image in range(count):
                stripes = 60 * np.cos(np.arange(SIZE[1]) * (k + 1) / 6)
                pixels = numbers.normal(128 + stripes[None], 15, SIZE).clip(0, 255)
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{image}.png")
    return [*DATA, f"data.root={root}"]
