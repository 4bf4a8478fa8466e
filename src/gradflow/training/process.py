"""Process-wide settings of a run: threads, random state, memory allocation and warnings."""

from __future__ import annotations

import ctypes
import logging
import platform
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch

# Lightning's warnings about what gradflow does on purpose.
_WARNINGS = (
    ".*does not have many workers.*",  # batches are made in this process
    ".*Checkpoint directory .* exists.*",
    ".*lr_scheduler.step.*before.*optimizer.step.*",  # AMP skips the first fp16 steps
    ".*resuming from a checkpoint.*",  # the batches resume at their position
    ".*callbacks used to create the checkpoint need to be provided.*",  # a run goes on without
    ".*GPU available but not used.*",
    ".*fp16 is not supported on CPU.*",  # gradflow refuses it
    ".*but have no `val_dataloader`.*",  # data.validation=0
    ".*is smaller than the logging interval.*",  # steps are counted across epochs
    ".*Total length of `list` across ranks is zero.*",  # the same
    ".*LeafSpec.*",  # Lightning's own use of torch
)
# From glibc's malloc.h. The mmap threshold has a hard upper limit of 32 MiB.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3


@contextmanager
def restored_process() -> Iterator[None]:
    """Restore torch's thread count and CPU random state after the block."""
    threads, random = torch.get_num_threads(), torch.get_rng_state()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_rng_state(random)


def keep_freed_memory() -> None:
    """Make glibc keep freed memory between steps; do nothing with another C library.

    Every step allocates and frees the same activations. By default, glibc returns them to the
    system and gets them back page by page. Results stay the same; small nets train faster.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(_MMAP_THRESHOLD, 32 * 2**20)
    libc.mallopt(_TRIM_THRESHOLD, 2**30)
    libc.mallopt(_TOP_PAD, 64 * 2**20)


def quieten() -> None:
    """Silence Lightning's expected warnings and its messages below ERROR."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for warning in _WARNINGS:
        warnings.filterwarnings("ignore", warning)
