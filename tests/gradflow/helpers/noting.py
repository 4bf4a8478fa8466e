"""A run that prints which files of its folder it opens for writing.

`python noting.py FOLDER [OVERRIDE ...]`
"""

import os
import sys
from pathlib import Path
from typing import Any

from small_project import fit

folder = Path(sys.argv[1]).resolve()
seen: set[str] = set()


def note(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and isinstance(arguments[0], str | bytes | os.PathLike):
        path = Path(os.fsdecode(arguments[0])).absolute()
        if arguments[2] & (os.O_WRONLY | os.O_RDWR) and path.is_relative_to(folder):
            seen.add(str(path.relative_to(folder)))


sys.addaudithook(note)
fit(folder, *sys.argv[2:])
print(*sorted(seen), sep="\n")
