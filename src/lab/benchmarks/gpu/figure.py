"""One measured figure, and tables of them for a terminal, Markdown and JSON.

A figure that was not measured says why and has no value.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

COLUMNS = ("part", "figure", "value", "range", "n", "goal", "verdict", "note")


@dataclass(frozen=True)
class Figure:
    """A value with its range over n rounds, and the largest value that meets the goal."""

    part: str
    name: str
    value: float | str | None  # None: not measured; `note` says why
    unit: str = ""
    low: float | None = None
    high: float | None = None
    n: int = 1
    at_most: float | None = None
    wanted: str | None = None  # the text that meets the goal
    note: str = ""

    @property
    def verdict(self) -> str:
        """Return "met", "missed", "not measured", or nothing if there is no goal."""
        if self.value is None:
            return "not measured"
        if self.wanted is not None:
            return "met" if self.value == self.wanted else "missed"
        if self.at_most is None or isinstance(self.value, str):
            return ""
        return "met" if self.value <= self.at_most else "missed"

    @property
    def cells(self) -> tuple[str, ...]:
        """Return the row of a table."""
        value = "-" if self.value is None else self.value
        shown = value if isinstance(value, str) else f"{value:.4g} {self.unit}".strip()
        known = self.low is not None and self.high is not None
        spread = f"{self.low:.4g} to {self.high:.4g}" if known else ""
        goal = self.wanted or ("" if self.at_most is None else f"≤ {self.at_most:g}")
        return self.part, self.name, shown, spread, str(self.n), goal, self.verdict, self.note


def median(
    part: str,
    name: str,
    values: Sequence[float],
    unit: str = "",
    at_most: float | None = None,
    note: str = "",
) -> Figure:
    """Return the median and range of `values`. Without values, return `unmeasured`."""
    if not values:
        return unmeasured(part, name, note or "there was no time for a round", at_most)
    middle, low, high = statistics.median(values), min(values), max(values)
    return Figure(part, name, middle, unit, low, high, len(values), at_most, note=note)


def unmeasured(part: str, name: str, why: str, at_most: float | None = None) -> Figure:
    """Return a figure without a value."""
    return Figure(part, name, None, n=0, at_most=at_most, note=why)


def print_table(figures: Sequence[Figure], console: Console) -> None:
    """Print the figures in the terminal."""
    table = Table(*COLUMNS)
    for figure in figures:
        table.add_row(*figure.cells)
    console.print(table, markup=False)


def write(figures: Sequence[Figure], machine: str, folder: Path) -> None:
    """Write gpu.md and gpu.json into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [COLUMNS, ("---",) * len(COLUMNS), *(figure.cells for figure in figures)]
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    (folder / "gpu.md").write_text("\n".join([machine, "", *lines, ""]), encoding="utf-8")
    found = [asdict(figure) | {"verdict": figure.verdict} for figure in figures]
    text = json.dumps({"machine": machine, "figures": found}, indent=2, ensure_ascii=False)
    (folder / "gpu.json").write_text(text + "\n", encoding="utf-8")
