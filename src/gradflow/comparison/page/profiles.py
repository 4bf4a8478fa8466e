"""Compress profiles: log10 RMS of a layer in hundredths of a decade, as 16-bit integers.

They cover the range of float64, from 1e-323 to 1e308, with an error of at most 0.005 decades.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from gradflow.gradients.flow import decades

ZERO = -32768  # the RMS is exactly 0
NOT_FINITE = 32767  # NaN or Inf
MISSING = 32766  # not measured
PER_DECADE = 100


@dataclass(frozen=True)
class Profile:
    """One number per layer: S records of n layers, input to output."""

    layers: tuple[str, ...]
    values: NDArray[np.int16]  # (S, n)

    def at(self, records: NDArray[np.int64]) -> Profile:
        """Return the profile at some of the records."""
        return replace(self, values=self.values[records])


def profile(rows: pl.DataFrame, steps: NDArray[np.int64]) -> Profile | None:
    """Read a profile from a record's rows of one kind; None without rows."""
    if rows.is_empty():
        return None
    layers = tuple(rows.unique("name", keep="first").sort("index", "name")["name"])
    places = {name: place for place, name in enumerate(layers)}
    values = np.full((len(steps), len(layers)), MISSING, np.int16)
    record = np.searchsorted(steps, rows["step"].to_numpy())
    values[record, [places[name] for name in rows["name"]]] = hundredths(rows["rms"].to_list())
    return Profile(layers, values)


def hundredths(rms: Sequence[float | None]) -> NDArray[np.int16]:
    """Return log10 of non-negative values, as this file's integers."""
    return pack_decades(decades(rms))


def pack_decades(values: NDArray[np.float64]) -> NDArray[np.int16]:
    """Return decades as integers; -inf means exactly 0, NaN and inf mean non-finite."""
    finite = np.isfinite(values)
    rounded = np.rint(np.where(finite, values, 0) * PER_DECADE)
    special = np.where(np.isneginf(values), ZERO, NOT_FINITE)
    return np.where(finite, rounded, special).astype(np.int16)
