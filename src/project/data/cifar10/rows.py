"""The one form in which CIFAR-10 is verified and kept, whatever source it came from.

A row is one image as in the data set's binary edition: a label byte, then 3072 bytes of pixels,
red, green, blue, each plane row by row. 50000 training rows come first, then 10000 test rows.
Knows this form and its file; not the sources.
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
# The digest of all rows: of the six files of the binary edition, one after the other. Their
# own md5 sums, and the digest of the training images alone, are in the tests.
SHA256 = "013ba16d14ecc4829da62bf2af648ca30f600491ecb3e7f329c827db0dd17522"


def verify(rows: Rows, source: str) -> Rows:
    """Return `rows` if they are CIFAR-10, every byte of them; else DataError names `source`."""
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
    """Map the file of an earlier `write` into memory, verified.

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
    """Write the file aside, in `staging` on the same file system, and put it in place whole."""
    aside = staging / FILE
    with aside.open("wb") as file:
        np.save(file, rows, allow_pickle=False)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(root / FILE)
