"""Keep freed memory between steps, where the C library is glibc.

Every step allocates the same activations and frees them; glibc gives them back to the system each
time and asks for them anew, page by page. No number changes; on small nets, time does.
"""

from __future__ import annotations

import ctypes
import platform

# From glibc's malloc.h. The mmap threshold has a hard upper limit of 32 MiB.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3


def keep_freed_memory() -> None:
    """Tell malloc, for the rest of this process; elsewhere than with glibc, do nothing."""
    if platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(_MMAP_THRESHOLD, 32 * 2**20)
    libc.mallopt(_TRIM_THRESHOLD, 2**30)
    libc.mallopt(_TOP_PAD, 64 * 2**20)
