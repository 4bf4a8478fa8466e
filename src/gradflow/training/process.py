"""What a run sets for its whole process: threads and random numbers, memory, and fewer remarks."""

from __future__ import annotations

import ctypes
import logging
import platform
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch

# What Lightning says of a run that is meant as it is.
_REMARKS = (
    ".*does not have many workers.*",  # batches are cut in this process, on purpose
    ".*Checkpoint directory .* exists.*",
    ".*lr_scheduler.step.*before.*optimizer.step.*",  # fp16's first steps are skipped
    ".*resuming from a checkpoint.*",  # the batches continue where they were
    ".*GPU available but not used.*",
    ".*fp16 is not supported on CPU.*",  # refused here, not replaced
    ".*but have no `val_dataloader`.*",  # data.validation=0
    ".*is smaller than the logging interval.*",  # steps are counted across epochs
    ".*Total length of `list` across ranks is zero.*",  # the same
    ".*LeafSpec.*",  # Lightning's own use of torch
)
# From glibc's malloc.h. The mmap threshold has a hard upper limit of 32 MiB.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3


@contextmanager
def restored_process() -> Iterator[None]:
    """Leave torch's thread count and its CPU random state as the caller had them."""
    threads, random = torch.get_num_threads(), torch.get_rng_state()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_rng_state(random)


def keep_freed_memory() -> None:
    """Keep freed memory between steps, where the C library is glibc; elsewhere do nothing.

    Every step allocates the same activations and frees them; glibc gives them back to the system
    each time and asks for them anew, page by page. No number changes; on small nets, time does.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(_MMAP_THRESHOLD, 32 * 2**20)
    libc.mallopt(_TRIM_THRESHOLD, 2**30)
    libc.mallopt(_TOP_PAD, 64 * 2**20)


def quieten() -> None:
    """Silence Lightning's remarks; its errors stay."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for remark in _REMARKS:
        warnings.filterwarnings("ignore", remark)
