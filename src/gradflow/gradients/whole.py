"""Write a run's files atomically: whole, or not at all.

This code lies here, not in `gradflow.runs`, since the monitor works without that package.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def written_whole(path: Path, beside: Path | None = None) -> Iterator[Path]:
    """Yield a temporary path to write to; afterwards that file replaces `path` in one move.

    It is a hidden file beside `path`, or beside the path `beside`. If the block raises, `path`
    stays as it was. A process killed in the block leaves the hidden file, which `sweep` removes.
    """
    place = beside or path
    aside = place.with_name(f".{place.name}.{os.getpid()}.unfinished")
    try:
        yield aside
        aside.replace(path)
    finally:
        with contextlib.suppress(OSError):  # do not hide an error of the block
            aside.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file, in UTF-8, whole or not at all."""
    with written_whole(path) as aside:
        aside.write_text(text, encoding="utf-8")


def sweep(folder: Path) -> None:
    """Remove unfinished files of killed processes; nobody may be writing in `folder`."""
    for orphan in folder.glob(".*.unfinished"):
        orphan.unlink(missing_ok=True)
