"""Follow a study that is running: its table, again and again."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Sequence

from rich.console import Console

from gradflow.comparison.configurations import Configuration
from gradflow.comparison.table import print_table

_SECONDS = 5.0


def watch(read: Callable[[], tuple[list[str], list[Configuration]]], title: str) -> None:
    """Print the table of what `read` returns whenever it has changed, until Ctrl-C.

    On a terminal each table replaces the one before. Running runs are listed below, with the step
    that they had written last (every ten seconds).
    """
    console = Console(highlight=False)
    shown = ""
    try:
        while True:
            text = _text(*read(), title, console)
            if text != shown:
                console.clear()
                console.file.write(text)
                console.file.flush()
                shown = text
            time.sleep(_SECONDS)
    except KeyboardInterrupt:
        return


def _text(keys: Sequence[str], rows: Sequence[Configuration], title: str, console: Console) -> str:
    out = Console(
        file=io.StringIO(),
        width=console.width,
        force_terminal=console.is_terminal,
        highlight=False,
    )
    print_table(keys, rows, title, out)
    for run in (run for row in rows for run in row.runs if run.state == "running"):
        line = f"running: {run.folder}: step {run.steps} of {run.config.get('steps', '?')}"
        out.print(line, markup=False, soft_wrap=True)
    assert isinstance(out.file, io.StringIO)
    return out.file.getvalue()
