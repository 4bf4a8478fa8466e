"""Progress of a transfer: a bar where stderr is a terminal, else two lines in the log."""

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TransferSpeedColumn,
)

logger = logging.getLogger("project.data")


@contextmanager
def progress(what: str, size: int) -> Iterator[Callable[[int], None]]:
    """Show that `what`, of about `size` bytes, is under way.

    The block calls what it is given with the bytes so far. A block that raises leaves no line
    that says it ended.
    """
    if sys.stderr.isatty():
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
        )
        with Progress(*columns, console=Console(stderr=True)) as bar:
            task = bar.add_task(what, total=size)
            yield lambda done: bar.update(task, completed=min(done, size))
            bar.update(task, completed=size)
        return
    logger.info("%s: %.0f MB", what, size / 1e6)
    start = time.monotonic()
    yield lambda done: None
    logger.info("%s: done in %.1f s", what, time.monotonic() - start)
