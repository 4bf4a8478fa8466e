"""Compress histograms: heights in 31 levels of the square root, and exact counts beside them.

A bin with c elements has level round(31 sqrt(c / peak)), where `peak` is the count of the fullest
bin of its histogram. A filled bin has at least level 1, so that it does not look empty. Ridgelines
draw the square root of the height, which is off by less than 1/31 of the tallest. The peak and the
counts outside the bins are exact. Bins at either end that a run never fills are left out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from gradflow.comparison.page.blob import Arrays
from gradflow.gradients.record import is_weight

LEVELS = 31
SPECIALS = ("zeros", "subnormals", "nans", "infs")
_FIRST_EXPONENT = -126  # of bin 0: see `gradients/record.py`


@dataclass(frozen=True)
class Histograms:
    """One run's histograms of one kind: P tensors, S records, B bins, the first from 2^`first` on.

    If a tensor was not counted in a record, its peak and its specials there are 0.
    """

    names: tuple[str, ...]  # (P,)
    first: int
    elements: NDArray[np.int64]  # (P,)
    weights: tuple[bool, ...]  # (P,) whether the tensor is a weight
    levels: NDArray[np.uint8]  # (P, S, B); level L stands for peak * (L / LEVELS)^2
    peaks: NDArray[np.int64]  # (P, S)
    specials: dict[str, NDArray[np.int64]]  # (P, S) each

    def at(self, records: NDArray[np.int64]) -> Histograms:
        """Return the histograms at some of the records."""
        return replace(
            self,
            levels=self.levels[:, records],
            peaks=self.peaks[:, records],
            specials={name: counts[:, records] for name, counts in self.specials.items()},
        )

    def pack(self, arrays: Arrays, names: int) -> dict[str, Any]:
        """Add the arrays to `arrays`; `names` is the place of the names in the document."""
        return {
            "names": names,
            "first": self.first,
            "bins": self.levels.shape[2],
            "elements": arrays.add_counts(self.elements),
            "weights": list(self.weights),
            "levels": arrays.add(self.levels, "u1"),
            "peaks": arrays.add_counts(self.peaks),
            **{name: arrays.add_counts(counts) for name, counts in self.specials.items()},
        }


def histograms(rows: pl.DataFrame, steps: NDArray[np.int64]) -> Histograms | None:
    """Read the histograms from a record's rows of one kind; None if they have no bins."""
    rows = rows.filter(pl.col("bins").is_not_null())
    if rows.is_empty():
        return None
    tensors = rows.unique("name", keep="first").sort("index", "name")
    names = tuple(tensors["name"])
    places = {name: place for place, name in enumerate(names)}
    tensor = np.array([places[name] for name in rows["name"]])
    record = np.searchsorted(steps, rows["step"].to_numpy())
    shape = (len(names), len(steps))

    counts = rows["bins"].to_numpy()
    filled = np.flatnonzero(counts.any(axis=0))
    first, end = (int(filled[0]), int(filled[-1]) + 1) if len(filled) else (0, 1)
    counts = counts[:, first:end]
    highest = counts.max(axis=1)
    levels = np.rint(LEVELS * np.sqrt(counts / np.maximum(highest, 1)[:, None])).astype(np.uint8)
    np.maximum(levels, counts > 0, out=levels)

    def grid(values: NDArray[Any], kind: type[np.generic]) -> NDArray[Any]:
        laid_out = np.zeros(shape + values.shape[1:], kind)
        laid_out[tensor, record] = values
        return laid_out

    return Histograms(
        names=names,
        first=first + _FIRST_EXPONENT,
        elements=tensors["elements"].to_numpy(),
        weights=tuple(is_weight(*row) for row in tensors["name", "dimensions"].iter_rows()),
        levels=grid(levels, np.uint8),
        peaks=grid(highest, np.int64),
        specials={name: grid(rows[name].fill_null(0).to_numpy(), np.int64) for name in SPECIALS},
    )
