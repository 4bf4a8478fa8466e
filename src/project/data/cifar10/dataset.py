"""CIFAR-10 (Krizhevsky 2009): 50000 images to train on and 10000 to test on, in ten classes.

Knows the arguments and the arrays; how the bytes arrive is `prepare.py`'s.
"""

import math
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Unpack

import numpy as np
import torch

from project.data.cifar10 import sources
from project.data.cifar10.pace import Limits
from project.data.cifar10.prepare import prepare
from project.data.cifar10.rows import Rows
from project.data.images import Batching, ImageData, Images

TRAIN_IMAGES = 50_000


class CIFAR10(ImageData):
    """The real data, fetched when it is first needed, and verified whatever it came from."""

    # In the order of the labels 0 to 9.
    classes = tuple("airplane automobile bird cat deer dog frog horse ship truck".split())  # noqa: SIM905

    def __init__(
        self,
        *,
        root: str | Path = "data",
        source: str | Sequence[str] = sources.NAMES,
        min_rate: float = 300.0,
        stall_timeout: float = 10.0,
        validation: int = 5000,
        **batching: Unpack[Batching],
    ) -> None:
        """Take where the data is kept and fetched from; the rest as in ImageData.

        root: a folder, made when needed; a copy of the data that torchvision or the user left
        there is used. source: one name, or several in the order in which they are tried.
        min_rate: kB/s (1 kB is 1000 bytes) under which a source is left while another is to be
        tried; 0 for any. stall_timeout: seconds without a byte after which a source is left;
        the rate is taken over the same time. ValueError for anything out of range.
        """
        super().__init__(validation=validation, train_images=TRAIN_IMAGES, **batching)
        self.root = Path(root).expanduser()
        self.source = [source] if isinstance(source, str) else list(source)
        allowed = ", ".join(sources.NAMES)
        if not self.source:
            raise ValueError(f"source=[]: must name at least one of {allowed}")
        for name in self.source:
            if name not in sources.NAMES:
                raise ValueError(f"source={name}: must be one or more of {allowed}")
        if len(set(self.source)) < len(self.source):
            raise ValueError(f"source={self.source}: must name each source once")
        if not (math.isfinite(min_rate) and min_rate >= 0):
            raise ValueError(f"min_rate={min_rate}: must be a number of kB/s, at least 0")
        if not (math.isfinite(stall_timeout) and stall_timeout > 0):
            raise ValueError(f"stall_timeout={stall_timeout}: must be a number of seconds over 0")
        self.min_rate = min_rate
        self.stall_timeout = stall_timeout

    def identity(self) -> Hashable:
        """Return the folder."""
        return self.root.resolve()

    def read_images(self) -> tuple[Images, Images]:
        """Return the images to train and validate on, and the test images; fetch them first."""
        limits = Limits(min_rate=1000 * self.min_rate, timeout=self.stall_timeout)
        rows = prepare(self.root, self.source, limits)
        return _images(rows[:TRAIN_IMAGES]), _images(rows[TRAIN_IMAGES:])


def _images(rows: Rows) -> Images:
    pixels = np.array(rows[:, 1:]).reshape(-1, 3, 32, 32)
    return Images(torch.from_numpy(pixels), torch.from_numpy(rows[:, 0].astype(np.int64)))
