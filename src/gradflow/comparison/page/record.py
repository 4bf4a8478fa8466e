"""Read one run's files for the page: its curves, profiles and histograms.

A file that cannot be read gives no data, but a line in `problems`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from gradflow.comparison.page.curves import Curve, read_curves
from gradflow.comparison.page.histograms import SPECIALS, Histograms, histograms
from gradflow.comparison.page.profiles import Profile, profile
from gradflow.errors import ConfigError
from gradflow.gradients.record import FOLDER, scan_gradients

PROFILES = ("pre_activation_gradient", "pre_activation")
# Every kind that may have bins; all but the first are recorded only on request.
HISTOGRAMS = ("gradient", "weight", "pre_activation", "activation")
_WANTED = pl.col("kind").is_in(PROFILES) | pl.col("bins").is_not_null()
# More records are not even read: they would fill the memory, and no slider tells them apart.
_MOST_RECORDS = 300
_COLUMNS = ("step", "kind", "name", "index", "elements", "dimensions", *SPECIALS, "rms", "bins")


@dataclass(frozen=True)
class RunData:
    """One run's data for the page: S records at `steps`, of `recorded` in its folder."""

    curves: dict[str, Curve]
    steps: NDArray[np.int64]  # (S,)
    recorded: int
    profiles: dict[str, Profile]
    histograms: dict[str, Histograms]
    problems: list[str] = field(default_factory=list)

    @property
    def cells(self) -> int:
        """The number of bins in all histograms, which decides the size of a page."""
        return sum(histograms.levels.size for histograms in self.histograms.values())

    def thinned(self, records: int) -> RunData:
        """Keep at most `records` records, evenly spread, including the first and the last."""
        if len(self.steps) <= records:
            return self
        kept = _evenly_spread(len(self.steps), records)
        return RunData(
            self.curves,
            self.steps[kept],
            self.recorded,
            {kind: profile.at(kept) for kind, profile in self.profiles.items()},
            {kind: histograms.at(kept) for kind, histograms in self.histograms.items()},
            self.problems,
        )


def read_run_data(folder: Path) -> RunData:
    """Read a run's folder, in any state."""
    problems: list[str] = []
    curves: dict[str, Curve] = {}
    try:
        curves = read_curves(folder)
    except (ConfigError, OSError) as error:
        problems.append(f"metrics.csv cannot be read: {_first_line(error)}")
    try:
        scan = scan_gradients(folder)
        recorded = scan.select("step").collect()["step"].unique().sort()
        read = recorded.gather(_evenly_spread(len(recorded), _MOST_RECORDS))
        wanted = _WANTED & pl.col("step").is_in(read.implode())
        record = scan.filter(wanted).select(_COLUMNS).collect()
    except (OSError, pl.exceptions.PolarsError) as error:
        problems.append(f"{FOLDER} cannot be read: {_first_line(error)}")
        return RunData(curves, np.zeros(0, np.int64), 0, {}, {}, problems)
    kinds = {kind[0]: rows for kind, rows in record.partition_by("kind", as_dict=True).items()}
    empty = record.clear()
    steps = np.unique(record["step"].to_numpy())
    profiles = {kind: profile(kinds.get(kind, empty), steps) for kind in PROFILES}
    bins = {kind: histograms(kinds.get(kind, empty), steps) for kind in HISTOGRAMS}
    return RunData(
        curves,
        steps,
        len(recorded),
        {kind: values for kind, values in profiles.items() if values is not None},
        {kind: values for kind, values in bins.items() if values is not None},
        problems,
    )


def _evenly_spread(n: int, most: int) -> NDArray[np.int64]:
    """Return at most `most` of 0 … n - 1, evenly spread, including the first and the last."""
    return np.unique(np.rint(np.linspace(0, n - 1, min(n, most))).astype(np.int64))


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
