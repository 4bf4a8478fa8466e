"""Tables over results.csv: how often the verdict, and the rules of earlier tools, name the cause.

Only confirmed runs count. A healthy net must have learned. A faulty net must not have learned,
while the healthy net that it was made from did. Whether a run learned is decided by its accuracy on
images that it was not trained on (see `train.py`); no rule looks at that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

from lab.faults.peers import CLASSES
from lab.faults.stats import balanced_accuracy, share, stratified_bootstrap
from lab.faults.train import LEARNED

Row = Mapping[str, str]
_KINDS = (
    "healthy",
    "vanishing",
    "exploding",
    "frozen",
    "dead",
    "saturated",
    "diverged",
    "untrained",
)


def confirmed(rows: Sequence[Row]) -> list[Row]:
    """Return the runs whose own accuracy and whose counterfactual's confirm the label."""
    learned = {row["name"]: float(row["accuracy"]) >= LEARNED for row in rows}
    healthy = {row["base"]: learned[row["name"]] for row in rows if row["label"] == "healthy"}
    return [
        row
        for row in rows
        if healthy[row["base"]] and (row["label"] == "healthy" or not learned[row["name"]])
    ]


def print_tables(rows: Sequence[Row], console: Console | None = None) -> None:
    """Print the confusion matrix and figures of each part, then a table of the other tools."""
    console = console or Console(width=150)
    kept = confirmed(rows)
    console.print(f"{len(rows)} runs, {len(kept)} confirmed by their counterfactual")
    for part in ("tuning", "held_out"):
        part_rows = [row for row in kept if row["part"] == part]
        title = f"{part.replace('_', ' ')} part, {len(part_rows)} runs"
        console.print(_confusion(part_rows, title))
        truth = [row["label"] for row in part_rows]
        verdicts = [row["verdict"] for row in part_rows]
        low, high = stratified_bootstrap(truth, verdicts)
        console.print(
            f"balanced accuracy {balanced_accuracy(truth, verdicts):.3f} "
            f"(95 % bootstrap interval {low:.3f} to {high:.3f})"
        )
        healthy = [row["verdict"] for row in part_rows if row["label"] == "healthy"]
        alarms = sum(verdict != "healthy" for verdict in healthy)
        console.print(f"false alarms on healthy runs: {share(alarms, len(healthy))}")
        early = [(row["label"], row["by_step_20"]) for row in part_rows]
        warned = [a != "healthy" for label, a in early if label not in ("healthy", "untrained")]
        false = [a != "healthy" for label, a in early if label == "healthy"]
        console.print(
            f"by step 20: {sum(warned)} of {len(warned)} sick runs warned of, "
            f"{sum(false)} of {len(false)} healthy ones\n"
        )
    console.print(_peers([row for row in kept if row["part"] == "held_out"]))


def _confusion(rows: Sequence[Row], title: str) -> Table:
    table = Table(title=title, title_justify="left", header_style="bold")
    table.add_column("label \\ verdict")
    for kind in _KINDS:
        table.add_column(kind, justify="right")
    table.add_column("recall (95 %)", justify="right")
    table.add_column("precision (95 %)", justify="right")
    pairs = Counter((row["label"], row["verdict"]) for row in rows)
    for kind in _KINDS:
        hits = pairs[kind, kind]
        actual = sum(pairs[kind, other] for other in _KINDS)
        answered = sum(pairs[other, kind] for other in _KINDS)
        counts = [str(pairs[kind, other] or "") for other in _KINDS]
        table.add_row(kind, *counts, share(hits, actual), share(hits, answered))
    return table


def _peers(rows: Sequence[Row]) -> Table:
    """Compare each tool, on the classes that it has a rule for, with the verdict on the same runs.

    No tool distinguishes exploding from diverged, so this table merges the two classes for all.
    """
    table = Table(
        title="held out part, on the classes that each tool can tell",
        title_justify="left",
        header_style="bold",
    )
    for column in ("tool", "runs", "balanced accuracy", "the verdict's", "false alarms"):
        table.add_column(column, justify="left" if column == "tool" else "right")
    for tool, kinds in CLASSES.items():
        covered = [row for row in rows if row["label"] in kinds]
        truth = [_merged(row["label"]) for row in covered]
        theirs = [_merged(row[tool]) for row in covered]
        ours = [_merged(row["verdict"]) for row in covered]
        healthy = [row for row in covered if row["label"] == "healthy"]
        alarms = sum(row[tool] != "healthy" for row in healthy)
        table.add_row(
            tool,
            str(len(covered)),
            f"{balanced_accuracy(truth, theirs):.2f}",
            f"{balanced_accuracy(truth, ours):.2f}",
            f"{alarms} of {len(healthy)}",
        )
    return table


def _merged(kind: str) -> str:
    return "exploding" if kind == "diverged" else kind
