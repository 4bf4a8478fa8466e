"""Is a process of this machine alive? A killed child that nobody has waited for is not."""

from __future__ import annotations

import os
from pathlib import Path


def is_alive(process: int) -> bool:
    """Say whether the process with this number runs, or is stopped."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        # The state follows the name, which may hold anything, in brackets.
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:  # not Linux
        return True
