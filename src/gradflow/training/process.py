"""What a run sets for the whole process, CPU threads and random numbers, given back at its end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def as_found() -> Iterator[None]:
    """Leave torch's thread count and its CPU random state as the caller had them."""
    threads, random = torch.get_num_threads(), torch.get_rng_state()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_rng_state(random)
