"""What the tables of the drawn suite and the foreign suite share: states, calibration, misses.

A run is healthy or sick by its outcome. Any answer but `healthy` says that it is sick. All
intervals are of 95 %.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

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


def said_state(answer: str) -> str:
    """Return the state that a verdict's kind or a tool's answer means: healthy or sick."""
    return "healthy" if answer == "healthy" else "sick"


def print_states(rows: Sequence[Row], truth: Sequence[str], console: Console) -> None:
    """Compare the verdict with the other tools; then print the verdict by step 20."""
    table = Table(header_style="bold")
    table.add_column("healthy or sick")
    for column in ("balanced accuracy", "false alarms", "sick runs found"):
        table.add_column(column, justify="right")
    for tool in ("verdict", *CLASSES):
        pairs = [(t, row[tool]) for row, t in zip(rows, truth, strict=True) if row.get(tool)]
        table.add_row(tool, *_figures(pairs))
    console.print(table)
    early = Counter((t, said_state(r["by_step_20"])) for r, t in zip(rows, truth, strict=True))
    for state, word in (("sick", "by step 20, warned of sick"), ("healthy", "and of healthy")):
        found = share(early[state, "sick"], early[state, "sick"] + early[state, "healthy"])
        console.print(f"{word:>26} runs: {found}")


def _figures(pairs: Sequence[tuple[str, str]]) -> tuple[str, str, str]:
    if not pairs:
        return "-", "-", "-"
    truth, said = [t for t, _ in pairs], [said_state(answer) for _, answer in pairs]
    counts = Counter(zip(truth, said, strict=True))
    low, high = _interval(truth, said)
    return (
        f"{balanced_accuracy(truth, said):.3f} ({low:.3f} to {high:.3f})",
        share(counts["healthy", "sick"], truth.count("healthy")),
        share(counts["sick", "sick"], truth.count("sick")),
    )


def _interval(truth: Sequence[str], said: Sequence[str]) -> Interval:
    return bootstrap(
        len(truth),
        lambda chosen: balanced_accuracy([truth[i] for i in chosen], [said[i] for i in chosen]),
    )


def print_unclear(rows: Sequence[Row], what: str, console: Console) -> None:
    """Print how many of the unclear runs are said to be sick."""
    said = sum(said_state(row["verdict"]) == "sick" for row in rows)
    console.print(f"{what}: said to be sick {share(said, len(rows))}")


def print_calibration(
    what: str, rows: Sequence[Row], right: Sequence[bool], console: Console
) -> None:
    """Print whether the confidence is the share of right verdicts; nothing without a run."""
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


def print_misses(rows: Sequence[Row], columns: Sequence[str], console: Console) -> None:
    """List the runs whose state or cause the verdict misses."""
    table = Table(title=f"{len(rows)} misses", title_justify="left", header_style="bold")
    for column in columns:
        table.add_column(column)
    for row in rows:
        table.add_row(*(escape(row[column]) for column in columns))
    console.print(table)


def print_causes(
    known: Sequence[tuple[Row, bool]], column: str, title: str, console: Console
) -> None:
    """Print how often the cause is right, and the verdicts, for each value of `column`."""
    table = Table(header_style="bold")
    for heading in (title, "cause right", "verdicts"):
        table.add_column(heading)
    for value, _ in Counter(row[column] for row, _ in known).most_common():
        group = [(row, right) for row, right in known if row[column] == value]
        kinds = Counter(row["verdict"] for row, _ in group).most_common()
        table.add_row(
            value,
            f"{sum(right for _, right in group)} of {len(group)}",
            ", ".join(f"{kind} {n}" for kind, n in kinds),
        )
    console.print(f"\ncause right: {share(sum(right for _, right in known), len(known))}")
    console.print(table)
