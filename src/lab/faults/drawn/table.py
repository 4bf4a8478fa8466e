"""Tables over results.csv, which may hold only some of the runs.

A run is healthy if it learned, else sick. Runs whose accuracy lies between 0.13 and 0.20 are
unclear: another seed might have changed their state. They are counted, but only shown separately.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

from lab.faults.drawn.draws import PARTS
from lab.faults.peers import CLASSES
from lab.faults.stats import (
    Interval,
    balanced_accuracy,
    bootstrap,
    calibrated_error,
    calibration_error,
    calibration_interval,
    reliability,
    share,
)

Row = Mapping[str, str]
_UNCLEAR = (0.13, 0.20)  # accuracy


def print_tables(rows: Sequence[Row], console: Console | None = None) -> None:
    """Print the figures of each part, its causes, its calibration, and the other tools'."""
    console = console or Console(width=150)
    for part, seeds in PARTS.items():
        part_rows = [row for row in rows if row["part"] == part]
        console.print(f"\n[bold]{part.replace('_', ' ')} part[/]: {len(part_rows)} of {len(seeds)}")
        if part_rows:
            _print_part(part_rows, console)


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


def _print_part(rows: Sequence[Row], console: Console) -> None:
    clear = [row for row in rows if not is_unclear(row)]
    states = Counter(map(state, clear))
    console.print(
        f"{states['healthy']} healthy, {states['sick']} sick, {len(rows) - len(clear)} unclear"
    )
    console.print(_answers(clear))
    _print_unclear([row for row in rows if is_unclear(row)], console)
    sick = [row for row in clear if state(row) == "sick"]
    early = [row["by_step_20"] != "healthy" for row in sick]
    false = [row["by_step_20"] != "healthy" for row in clear if state(row) == "healthy"]
    console.print(f"by step 20, warned of sick runs: {share(sum(early), len(early))}")
    console.print(f"            and of healthy runs: {share(sum(false), len(false))}")
    _print_causes(sick, console)
    right = [state(row) == _state_of(row["verdict"]) for row in clear]
    _print_calibration("healthy or sick", clear, right, console)
    judged = [(row, is_right(row)) for row in clear]
    known = [(row, right) for row, right in judged if right is not None]
    _print_calibration(
        "state and cause", [row for row, _ in known], [right for _, right in known], console
    )


def _answers(rows: Sequence[Row]) -> Table:
    """Compare the verdict with the other tools: any answer but healthy means sick."""
    table = Table(header_style="bold")
    table.add_column("healthy or sick")
    for column in ("balanced accuracy (95 %)", "false alarms", "sick runs found"):
        table.add_column(column, justify="right")
    truth = [state(row) for row in rows]
    for tool in ("verdict", *CLASSES):
        said = [_state_of(row[tool]) for row in rows]
        counts = Counter(zip(truth, said, strict=True))
        low, high = _interval(truth, said)
        table.add_row(
            tool,
            f"{balanced_accuracy(truth, said):.3f} ({low:.3f} to {high:.3f})" if rows else "-",
            share(counts["healthy", "sick"], truth.count("healthy")),
            share(counts["sick", "sick"], truth.count("sick")),
        )
    return table


def _interval(truth: Sequence[str], said: Sequence[str]) -> Interval:
    if not truth:
        return 0.0, 1.0
    return bootstrap(
        len(truth),
        lambda chosen: balanced_accuracy([truth[i] for i in chosen], [said[i] for i in chosen]),
    )


def _print_unclear(rows: Sequence[Row], console: Console) -> None:
    for name in ("healthy", "sick"):
        said = [_state_of(row["verdict"]) == "sick" for row in rows if state(row) == name]
        console.print(f"unclear, {name}: said to be sick {share(sum(said), len(said))}")


def _print_causes(sick: Sequence[Row], console: Console) -> None:
    """Print how often the verdict's kind fits a setting whose replacement cures."""
    judged = [(row, cause_is_right(row)) for row in sick]
    known = [(row, right) for row, right in judged if right is not None]
    several = sum(row["cures"] == "several" for row in sick)
    waiting = sum(row["cures"] == "" for row in sick)
    hits = sum(right for _, right in known)
    console.print(f"\ncause right: {share(hits, len(known))}")
    console.print(f"left out: {several} with several causes at once, {waiting} not known yet")
    table = Table(header_style="bold")
    for column in ("cured by", "cause right", "verdicts"):
        table.add_column(column)
    for cures, _ in Counter(row["cures"] for row, _ in known).most_common():
        group = [(row, right) for row, right in known if row["cures"] == cures]
        kinds = Counter(row["verdict"] for row, _ in group).most_common()
        table.add_row(
            cures,
            f"{sum(right for _, right in group)} of {len(group)}",
            ", ".join(f"{kind} {n}" for kind, n in kinds),
        )
    console.print(table)


def _print_calibration(
    what: str, rows: Sequence[Row], right: Sequence[bool], console: Console
) -> None:
    if not rows:
        return
    confidence = [float(row["confidence"]) for row in rows]
    table = Table(title=f"confidence, {what}", title_justify="left", header_style="bold")
    for column in ("runs", "mean confidence", "share right"):
        table.add_column(column, justify="right")
    for found in reliability(confidence, right):
        table.add_row(str(found.size), f"{found.confidence:.3f}", f"{found.right:.3f}")
    console.print(table)
    low, high = calibration_interval(confidence, right)
    ideal, (from_, to) = calibrated_error(confidence)
    console.print(
        f"expected calibration error {calibration_error(confidence, right):.3f} "
        f"({low:.3f} to {high:.3f}); a calibrated verdict would have {ideal:.3f} "
        f"({from_:.3f} to {to:.3f})"
    )


def _state_of(answer: str) -> str:
    return "healthy" if answer == "healthy" else "sick"
