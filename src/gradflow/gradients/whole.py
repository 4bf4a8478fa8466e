"""The one way in which a file of a run is written: whole, or not at all.

It lies here, and not with the other parts of a run's folder, since the monitor works without them.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def written_whole(path: Path, beside: Path | None = None) -> Iterator[Path]:
    """Yield a path to write to; what is there afterwards takes the place of `path` in one move.

    It is a hidden file beside `path`, or beside the path `beside`. If the block raises, `path`
    stays as it was. A process that is killed in the block leaves the hidden file behind, which
    `sweep` removes.
    """
    place = beside or path
    aside = place.with_name(f".{place.name}.{os.getpid()}.unfinished")
    try:
        yield aside
        aside.replace(path)
    finally:
        with contextlib.suppress(OSError):  # the error that matters is that of the block
            aside.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file, in UTF-8, whole or not at all."""
    with written_whole(path) as aside:
        aside.write_text(text, encoding="utf-8")


def sweep(folder: Path) -> None:
    """Remove what processes that were killed have left in `folder`; nobody may be writing there."""
    for orphan in folder.glob(".*.unfinished"):
        orphan.unlink(missing_ok=True)
