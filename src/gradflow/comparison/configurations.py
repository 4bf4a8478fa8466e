"""Configurations: runs that differ in nothing but the seed, taken together, and their figures.

What is shown in the terminal, in a file and on a page is made from these rows.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from gradflow.runs.read import Run
from gradflow.runs.settings import differing, text


@dataclass(frozen=True)
class Column:
    """A figure that every run may have."""

    name: str  # in files and on the command line
    title: str  # in a table
    of: Callable[[Run], float | None]
    form: str
    factor: float = 1.0


def metric(name: str) -> Column:
    """A metric's last value, under the name that it has in metrics.csv."""
    return Column(name, name, lambda run: run.metrics.get(name), ".3g")


def _headline(split: str, name: str, percent: bool) -> Column:
    column, title = metric(f"{split}/{name}"), f"{split}\n{name}"
    if percent:
        return replace(column, title=f"{title}, %", form=".1f", factor=100)
    return replace(column, title=title)


def headlines(runs: Iterable[Run]) -> list[tuple[str, bool]]:
    """Return the metrics that runs are compared by, and whether each is a share, each once."""
    return list(dict.fromkeys(run.headline for run in runs if run.headline is not None))


def columns(runs: Sequence[Run]) -> list[Column]:
    """Return the figures of a table over `runs`: their headline metrics stand in their configs."""
    shown = [
        _headline(split, *headline)
        for headline in headlines(runs)
        for split in ("train", "validation", "test")
    ]
    return [DECADES, *shown, SECONDS]


DECADES = Column(
    "first_over_last",
    "dL/dz of the first\nlayer over the last's,\ndecades, step 0",
    lambda run: run.first_over_last,
    "+.1f",
)
SECONDS = Column("seconds", "seconds", lambda run: run.seconds or None, ".0f")


@dataclass(frozen=True)
class Figures:
    """What the runs of one configuration have measured, NaN and infinities among it."""

    values: tuple[float, ...]  # of the runs that have one

    @property
    def n(self) -> int:
        """How many runs have one."""
        return len(self.values)

    @property
    def mean(self) -> float | None:
        """Their mean; NaN if any value is NaN: averaging the rest would hide the failures."""
        return sum(self.values) / self.n if self.values else None

    @property
    def sd(self) -> float | None:
        """Their sample standard deviation, with n - 1; None of one alone."""
        if self.n < 2 or not all(map(math.isfinite, self.values)):
            return None
        return statistics.stdev(self.values)


@dataclass(frozen=True)
class Configuration:
    """The runs that differ in nothing but their seed."""

    values: tuple[str, ...]  # of the words that tell the configurations apart
    runs: tuple[Run, ...]

    def figures(self, column: Column) -> Figures:
        """Return what its finished runs have in a column; if none is, what there is so far."""
        finished = [run for run in self.runs if run.state == "finished"]
        found = [column.of(run) for run in finished or self.runs]
        return Figures(tuple(value for value in found if value is not None))

    @property
    def name(self) -> str:
        """What to call it where there is one line for it."""
        return ", ".join(self.values)

    @property
    def shows(self) -> str:
        """What its runs show, in words: the most frequent first."""
        return _together([what_it_shows(run) for run in self.runs])

    @property
    def states(self) -> str:
        """What became of its runs."""
        return _together([run.state for run in self.runs])


def configurations(runs: Sequence[Run]) -> tuple[list[str], list[Configuration]]:
    """Return the words that tell the runs' configurations apart, and the configurations.

    In the order of `runs`. Where a configuration was finished twice with one seed, the study, or
    else the folder, tells those runs apart: repeats are no further seeds.
    """
    words = differing(runs)
    rows = _rows(runs, words)
    if any(_has_repeats(row.runs) for row in rows):
        split = [_told_apart(row) for row in rows]
        rows = [row for _, of_row in split for row in of_row]
        words = [*words, "run" if any(word == "run" for word, _ in split) else "study"]
    if not words:  # one configuration, which nothing tells from another
        words = ["study" if len(runs) > 1 and all(run.config for run in runs) else "run"]
        rows = _rows(runs, words)
    return words, rows


def value_of(run: Run, word: str) -> str:
    """Return a run's setting as text, or what its `study` or its folder (`run`) is called."""
    if word == "study":
        study = run.config.get("study")  # of another version, it may be anything
        return str(
            study["name"] if isinstance(study, dict) and "name" in study else run.folder.parent
        )
    if word == "run":
        return str(run.folder)
    return text(run.settings.get(word))


def what_it_shows(run: Run) -> str:
    """Say what a run shows: its verdict, and whether a remedy has cured a pathology."""
    if run.verdict is not None:
        said: str = run.verdict.kind
    elif run.diverged_at is not None:
        said = "diverged"
    else:
        return "not watched" if run.state == "finished" else "-"
    sick = run.axes.get("pathology") not in (None, "none")
    treated = run.axes.get("remedy") not in (None, "none")
    if not (sick and treated and run.state == "finished"):
        return said
    return f"{said}: cured" if said == "healthy" else f"{said}: no cure here"


def _rows(runs: Sequence[Run], words: Sequence[str]) -> list[Configuration]:
    groups: dict[tuple[str, ...], list[Run]] = {}
    for run in runs:
        values = tuple(value_of(run, word) for word in words)
        if not run.config:  # nothing is known of it but where it lies
            values = (str(run.folder), *values[1:]) if values else ()
        groups.setdefault(values, []).append(run)
    return [Configuration(values, tuple(group)) for values, group in groups.items()]


def _told_apart(row: Configuration) -> tuple[str, list[Configuration]]:
    """Split a configuration in which a seed is repeated, by its study or else by the folder."""
    if not _has_repeats(row.runs):
        return "study", [Configuration((*row.values, "-"), row.runs)]
    word = "study"
    parts = _rows(row.runs, [word])
    if any(_has_repeats(part.runs) for part in parts):
        word = "run"
        parts = _rows(row.runs, [word])
    return word, [Configuration((*row.values, *part.values), part.runs) for part in parts]


def _has_repeats(runs: Sequence[Run]) -> bool:
    """Say whether a seed was finished twice: an attempt that failed beside it is no repeat."""
    finished = [run for run in runs if run.config and run.state == "finished"]
    seeds = Counter(text(run.settings.get("seed")) for run in finished)
    return any(n > 1 for n in seeds.values())


def _together(words: Sequence[str]) -> str:
    counts = Counter(words)
    if len(counts) == 1:
        return words[0]
    return "; ".join(f"{n} of {len(words)}: {word}" for word, n in counts.most_common())
