"""Verify and cache CIFAR-10 in one format, whatever its source.

A row is one image as in the data set's binary version: a label byte, then 3072 bytes of pixels,
red, green, blue, each plane row by row. 50000 training rows come first, then 10000 test rows.
Knows this format and its file, but not the sources.
"""

import hashlib
import os
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from gradflow.errors import DataError

Rows: TypeAlias = NDArray[np.uint8]

FILE = "cifar10.npy"
SHAPE = (60_000, 3_073)
# SHA-256 of all rows, that is of the six files of the binary version in order. The tests hold the
# md5 sum of each file, and the digest of the training images alone.
SHA256 = "013ba16d14ecc4829da62bf2af648ca30f600491ecb3e7f329c827db0dd17522"


def verify(rows: Rows, source: str) -> Rows:
    """Return `rows` if every byte is CIFAR-10's; otherwise raise DataError, naming `source`."""
    if rows.shape != SHAPE or rows.dtype != np.uint8:
        raise DataError(
            f"{source} is not CIFAR-10: {rows.dtype} {rows.shape}, expected uint8 {SHAPE}"
        )
    digest = hashlib.sha256(np.ascontiguousarray(rows).data).hexdigest()
    if digest != SHA256:
        raise DataError(
            f"{source} is not CIFAR-10: images or labels are altered "
            f"(sha256 {digest[:12]}…, expected {SHA256[:12]}…)"
        )
    return rows


def read(root: Path) -> Rows:
    """Memory-map the cached file, and verify it.

    Raises FileNotFoundError if the file is missing, and DataError if it is damaged.
    """
    path = root / FILE
    try:
        rows = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path} is damaged: {' '.join(str(error).split())[:100]}") from None
    return verify(rows, str(path))


def write(rows: Rows, root: Path, staging: Path) -> None:
    """Write the cached file atomically; `staging` must be on the same file system."""
    temporary = staging / FILE
    with temporary.open("wb") as file:
        np.save(file, rows, allow_pickle=False)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(root / FILE)
