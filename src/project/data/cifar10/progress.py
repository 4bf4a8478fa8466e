"""Show the progress of a transfer: a bar if stderr is a terminal, otherwise two log lines."""

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
    """Show the progress of `what`, of about `size` bytes.

    Yields a function to call with the number of bytes so far. The final line is logged only if the
    block ends without an error.
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
