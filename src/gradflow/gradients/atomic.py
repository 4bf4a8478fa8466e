"""Write a run's files atomically: completely, or not at all, after a power cut too.

This code lies here, not in `gradflow.runs`, since the monitor works without that package.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def atomic_write(path: Path, beside: Path | None = None) -> Iterator[Path]:
    """Yield a temporary path to write to; afterwards, that file replaces `path` in one move.

    It is a hidden file beside `path`, or beside the path `beside`. If the block raises, `path`
    stays as it was, and an OSError without a file's name gets it. A process killed in the block
    leaves the file to `remove_unfinished`.
    """
    place = beside or path
    temporary = place.with_name(f".{place.name}.{os.getpid()}.unfinished")
    try:
        yield temporary
        sync(temporary)  # the bytes are on the disk before the name is
        temporary.replace(path)
        sync(path.parent)
    except OSError as error:
        if error.filename is None:  # as of a full disk
            error.filename = str(path)
        raise
    finally:
        with contextlib.suppress(OSError):  # do not hide an error of the block
            temporary.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except PermissionError:  # Windows opens no folders
        if path.is_dir():
            return
        raise
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file atomically."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def remove_unfinished(folder: Path) -> None:
    """Delete unfinished files of killed processes; no process may be writing in `folder`."""
    for orphan in folder.glob(".*.unfinished"):
        orphan.unlink(missing_ok=True)
