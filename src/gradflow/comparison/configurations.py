"""Group runs that differ only in the seed into configurations, and average their figures.

The table in the terminal, the exported files and the page are all made from these rows.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gradflow.runs.read import Run
from gradflow.runs.settings import differing, text
from gradflow.runs.status import ENDED


@dataclass(frozen=True)
class Column:
    """A figure that a run may have: a column of the table."""

    name: str  # in files and on the command line
    title: str  # in a table
    value: Callable[[Run], float | None]
    form: str
    factor: float = 1.0
    interval: bool = False  # shown with the 95 % interval of the mean, not the standard deviation


@dataclass(frozen=True)
class Figures:
    """The values of one column for the runs of a configuration, including NaN and infinities."""

    values: tuple[float, ...]  # of the runs that have a value

    @property
    def n(self) -> int:
        """The number of runs that have a value."""
        return len(self.values)

    @property
    def mean(self) -> float | None:
        """The mean; NaN if any value is NaN: averaging the rest would hide the failures."""
        return sum(self.values) / self.n if self.values else None

    @property
    def sd(self) -> float | None:
        """The sample standard deviation, with n - 1; None if n < 2 or a value is non-finite."""
        if self.n < 2 or not all(map(math.isfinite, self.values)):
            return None
        return statistics.stdev(self.values)

    @property
    def half_width(self) -> float | None:
        """Half of the mean's 95 % t-interval (Student 1908); None where there is no sd."""
        if self.sd is None:
            return None
        from scipy.special import stdtrit  # a tenth of a second that few tables need

        return float(stdtrit(self.n - 1, 0.975)) * self.sd / math.sqrt(self.n)


@dataclass(frozen=True)
class Configuration:
    """The runs that differ only in their seed."""

    values: tuple[str, ...]  # of the keys that tell the configurations apart
    runs: tuple[Run, ...]

    def figures(self, column: Column) -> Figures:
        """Return a column's values for the finished runs, or for all runs if none has finished."""
        finished = [run for run in self.runs if run.state == "finished"]
        found = [column.value(run) for run in finished or self.runs]
        return Figures(tuple(value for value in found if value is not None))

    @property
    def name(self) -> str:
        """The name, in one line."""
        return ", ".join(self.values)

    @property
    def outcomes(self) -> str:
        """What the runs show, as text: the most frequent first."""
        return _joined([outcome(run) for run in self.runs])

    @property
    def states(self) -> str:
        """The runs' states, as text: the most frequent first."""
        return _joined([run.state for run in self.runs])


def configurations(runs: Sequence[Run]) -> tuple[list[str], list[Configuration]]:
    """Return the keys that tell the configurations of `runs` apart, and the configurations.

    The order is that of `runs`. If a configuration has finished twice with one seed, those runs are
    split by study, or else by folder: a repeat is not another seed.
    """
    keys = differing(runs)
    rows = _rows(runs, keys)
    if any(_has_repeats(row.runs) for row in rows):
        split = [_split_repeats(row) for row in rows]
        rows = [part for _, parts in split for part in parts]
        keys = [*keys, "run" if any(key == "run" for key, _ in split) else "study"]
    if not keys:  # a single configuration
        keys = ["study" if len(runs) > 1 and all(run.config for run in runs) else "run"]
        rows = _rows(runs, keys)
    return keys, rows


def short_values(rows: Sequence[Configuration]) -> list[tuple[str, ...]]:
    """Return the rows' values to show, with numbers of 4 digits where these tell them apart."""
    columns = []
    for column in zip(*(row.values for row in rows), strict=True):
        short = [_short(value) for value in column]
        columns.append(short if len(set(short)) == len(set(column)) else column)
    return list(zip(*columns, strict=True)) if columns else [() for _ in rows]


def _short(value: str) -> str:
    try:
        return f"{float(value):.4g}" if len(value) > 6 else value
    except ValueError:
        return value


def value_of(run: Run, key: str) -> str:
    """Return a run's setting as text; `study` gives the study's name, `run` the folder."""
    if key == "study":
        study = run.config.get("study")  # another version may have written anything
        return str(
            study["name"] if isinstance(study, dict) and "name" in study else run.folder.parent
        )
    if key == "run":
        return str(run.folder)
    return text(run.settings.get(key))


def outcome(run: Run) -> str:
    """Return what a run shows: its verdict, and whether a remedy has cured its pathology."""
    if run.verdict is not None:
        result: str = run.verdict.kind
    elif run.diverged_at is not None:
        result = "diverged"
    else:
        return "not watched" if run.state == "finished" else "-"
    sick = run.axes.get("pathology") not in (None, "none")
    treated = run.axes.get("remedy") not in (None, "none")
    if not (sick and treated and run.state in ENDED):
        return result
    return f"{result}: cured" if result == "healthy" else f"{result}: no cure here"


def _rows(runs: Sequence[Run], keys: Sequence[str]) -> list[Configuration]:
    groups: dict[tuple[str, ...], list[Run]] = {}
    for run in runs:
        values = tuple(value_of(run, key) for key in keys)
        if not run.config:  # only its folder is known
            values = (str(run.folder), *values[1:]) if values else ()
        groups.setdefault(values, []).append(run)
    return [Configuration(values, tuple(group)) for values, group in groups.items()]


def _split_repeats(row: Configuration) -> tuple[str, list[Configuration]]:
    """Split a configuration with a repeated seed, by study or else by folder."""
    if not _has_repeats(row.runs):
        return "study", [Configuration((*row.values, "-"), row.runs)]
    key = "study"
    parts = _rows(row.runs, [key])
    if any(_has_repeats(part.runs) for part in parts):
        key = "run"
        parts = _rows(row.runs, [key])
    return key, [Configuration((*row.values, *part.values), part.runs) for part in parts]


def _has_repeats(runs: Sequence[Run]) -> bool:
    """Say whether two finished runs have the same seed; a failed attempt is no repeat."""
    finished = [run for run in runs if run.config and run.state == "finished"]
    seeds = Counter(text(run.settings.get("seed")) for run in finished)
    return any(n > 1 for n in seeds.values())


def _joined(texts: Sequence[str]) -> str:
    counts = Counter(texts)
    if len(counts) == 1:
        return texts[0]
    return "; ".join(f"{n} of {len(texts)}: {text}" for text, n in counts.most_common())
