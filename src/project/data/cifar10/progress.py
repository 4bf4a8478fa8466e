"""Show the progress of a transfer: a bar if stderr is a terminal, otherwise two log lines."""

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich import progress as rich
from rich.console import Console

logger = logging.getLogger("project.data")


@contextmanager
def progress(what: str, size: int) -> Iterator[Callable[[int], None]]:
    """Show the progress of `what`, of about `size` bytes.

    Yields a function to call with the number of bytes so far. The final line is logged only if the
    block ends without an error.
    """
    if sys.stderr.isatty():
        columns = (rich.BarColumn(), rich.DownloadColumn(), rich.TransferSpeedColumn())
        text = rich.TextColumn("{task.description}", markup=False)
        with rich.Progress(text, *columns, console=Console(stderr=True)) as bar:
            task = bar.add_task(what, total=size)
            yield lambda done: bar.update(task, completed=min(done, size))
            bar.update(task, completed=size)
        return
    logger.info("%s: %.0f MB", what, size / 1e6)
    start = time.monotonic()
    yield lambda done: None
    logger.info("%s: done in %.1f s", what, time.monotonic() - start)
