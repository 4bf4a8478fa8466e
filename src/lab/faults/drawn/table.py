"""Tables over results.csv, which may hold only some of the runs.

A run is healthy if it learned, else sick. Runs whose accuracy lies between 0.13 and 0.20 are
unclear: another seed might have changed their state. They are counted, but only shown separately.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from lab.faults.drawn.draws import PARTS
from lab.faults.tables import (
    Row,
    print_calibration,
    print_causes,
    print_misses,
    print_states,
    print_unclear,
    said_state,
)

_UNCLEAR = (0.13, 0.20)  # accuracy


def print_tables(rows: Sequence[Row], misses: bool = False, console: Console | None = None) -> None:
    """Print the figures of each part; with `misses`, list the runs with a wrong verdict too."""
    console = console or Console(width=150)
    for part, seeds in PARTS.items():
        part_rows = [row for row in rows if row["part"] == part]
        console.print(f"\n[bold]{part.replace('_', ' ')} part[/]: {len(part_rows)} of {len(seeds)}")
        if part_rows:
            _print_part(part_rows, misses, console)


def is_unclear(row: Row) -> bool:
    """Return whether the accuracy is too near the bound to tell healthy from sick."""
    return _UNCLEAR[0] <= float(row["accuracy"]) < _UNCLEAR[1]


def state(row: Row) -> str:
    """Return the true state of a run: healthy or sick."""
    return "healthy" if row["learned"] == "True" else "sick"


def cause_is_right(row: Row) -> bool | None:
    """Return whether the verdict names a cause that cures; None without a single cause."""
    return row["verdict"] in row["right_kinds"].split("+") if row["right_kinds"] else None


def is_right(row: Row) -> bool | None:
    """Return whether the whole verdict is right; None if a sick run has no single cause."""
    if state(row) == "healthy":
        return row["verdict"] == "healthy"
    return False if row["verdict"] == "healthy" else cause_is_right(row)


def _print_part(rows: Sequence[Row], misses: bool, console: Console) -> None:
    clear = [row for row in rows if not is_unclear(row)]
    truth = [state(row) for row in clear]
    console.print(
        f"{truth.count('healthy')} healthy, {truth.count('sick')} sick, "
        f"{len(rows) - len(clear)} unclear"
    )
    print_states(clear, truth, console)
    for name in ("healthy", "sick"):
        unclear = [row for row in rows if is_unclear(row) and state(row) == name]
        print_unclear(unclear, f"unclear, {name}", console)
    _print_causes([row for row in clear if state(row) == "sick"], console)
    right = [state(row) == said_state(row["verdict"]) for row in clear]
    print_calibration("healthy or sick", clear, right, console)
    judged = [(row, is_right(row)) for row in clear]
    known = [(row, right) for row, right in judged if right is not None]
    print_calibration(
        "state and cause", [row for row, _ in known], [right for _, right in known], console
    )
    if misses:
        columns = ("name", "accuracy", "verdict", "confidence", "cures", "right_kinds")
        print_misses([row for row, right in known if not right], columns, console)


def _print_causes(sick: Sequence[Row], console: Console) -> None:
    """Print how often the verdict's kind fits a setting whose replacement cures."""
    judged = [(row, cause_is_right(row)) for row in sick]
    print_causes(
        [(row, right) for row, right in judged if right is not None], "cures", "cured by", console
    )
    several = sum(row["cures"] == "several" for row in sick)
    waiting = sum(row["cures"] == "" for row in sick)
    console.print(f"left out: {several} with several causes at once, {waiting} not known yet")
