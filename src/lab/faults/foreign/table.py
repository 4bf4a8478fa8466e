"""Tables over results.csv, which may hold only some of the runs.

The state of a run is its label, which follows from its score alone. Unclear runs are only counted.
The cause counts in confirmed sick runs: the base learned, and the run with the fault did not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich.console import Console

from lab.faults.foreign.cases import foreign_cases
from lab.faults.tables import (
    Row,
    print_calibration,
    print_causes,
    print_misses,
    print_states,
    print_unclear,
    said_state,
)


def print_tables(rows: Sequence[Row], misses: bool = False, console: Console | None = None) -> None:
    """Print the figures of each part that has runs; with `misses`, list the wrong verdicts too."""
    console = console or Console(width=150)
    for part, size in Counter(case.part for case in foreign_cases()).items():
        part_rows = [row for row in rows if row["part"] == part]
        if part_rows:
            title = f"[bold]{part.replace('_', ' ')} part[/]"
            console.print(f"\n{title}: {len(part_rows)} of {size}")
            _print_part(part_rows, misses, console)


def cause_is_right(row: Row) -> bool | None:
    """Return whether the verdict names the fault; None if the run is not a confirmed sick one."""
    if row["label"] != "sick" or row["confirmed"] != "1":
        return None
    return row["verdict"] in row["allowed"].split()


def is_right(row: Row) -> bool | None:
    """Return whether the whole verdict is right; None if a sick run's cause is not confirmed."""
    if row["label"] == "healthy":
        return row["verdict"] == "healthy"
    return False if row["verdict"] == "healthy" else cause_is_right(row)


def _print_part(rows: Sequence[Row], misses: bool, console: Console) -> None:
    clear = [row for row in rows if row["label"] != "unclear"]
    truth = [row["label"] for row in clear]
    unclear = [row for row in rows if row["label"] == "unclear"]
    console.print(
        f"{truth.count('healthy')} healthy, {truth.count('sick')} sick, {len(unclear)} unclear, "
        f"{sum(bool(row['error']) for row in rows)} errors"
    )
    print_states(clear, truth, console)
    print_unclear(unclear, "unclear", console)
    causes = [(row, cause_is_right(row)) for row in clear]
    known = [(row, right) for row, right in causes if right is not None]
    print_causes(known, "fault", "fault", console)
    right = [row["label"] == said_state(row["verdict"]) for row in clear]
    print_calibration("healthy or sick", clear, right, console)
    judged = [(row, is_right(row)) for row in clear]
    known = [(row, right) for row, right in judged if right is not None]
    print_calibration(
        "state and cause", [row for row, _ in known], [right for _, right in known], console
    )
    if misses:
        columns = ("name", "score", "verdict", "confidence", "allowed")
        print_misses([row for row, right in known if not right], columns, console)
