"""How often the verdict, and the rules of earlier tools, name the cause: tables over results.csv.

Only confirmed runs count: a healthy net is one that learned; a sick one did not learn, while the
healthy net that it was made from did. Whether a run learned is its accuracy on images that it was
not trained on (see `run.py`), which no rule looks at.
"""

from __future__ import annotations

import math
import random
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

from lab.faults.peers import CLASSES

Row = Mapping[str, str]
LEARNED = 0.15  # accuracy: chance is 0.10, with a standard deviation of 0.007 on 2000 images
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
    """Return the runs whose label their own outcome and their counterfactual's bear out."""
    learned = {row["name"]: float(row["accuracy"]) >= LEARNED for row in rows}
    healthy = {row["base"]: learned[row["name"]] for row in rows if row["label"] == "healthy"}
    return [
        row
        for row in rows
        if healthy[row["base"]] and (row["label"] == "healthy" or not learned[row["name"]])
    ]


def print_tables(rows: Sequence[Row], console: Console | None = None) -> None:
    """Print, for each part, the confusion matrix and the figures; then the other tools'."""
    console = console or Console(width=150)
    kept = confirmed(rows)
    console.print(f"{len(rows)} runs, {len(kept)} confirmed by their counterfactual")
    for part in ("tuning", "held_out"):
        of_part = [row for row in kept if row["part"] == part]
        title = f"{part.replace('_', ' ')} part, {len(of_part)} runs"
        console.print(_confusion(of_part, title))
        truth = [row["label"] for row in of_part]
        said = [row["verdict"] for row in of_part]
        low, high = _bootstrap(truth, said)
        console.print(
            f"balanced accuracy {balanced_accuracy(truth, said):.3f} "
            f"(95 % bootstrap interval {low:.3f} to {high:.3f})"
        )
        healthy = [row["verdict"] for row in of_part if row["label"] == "healthy"]
        alarms = sum(verdict != "healthy" for verdict in healthy)
        console.print(f"false alarms on healthy runs: {_share(alarms, len(healthy))}")
        early = [(row["label"], row["by_step_20"]) for row in of_part]
        warned = [a != "healthy" for label, a in early if label not in ("healthy", "untrained")]
        false = [a != "healthy" for label, a in early if label == "healthy"]
        console.print(
            f"by step 20: {sum(warned)} of {len(warned)} sick runs warned of, "
            f"{sum(false)} of {len(false)} healthy ones\n"
        )
    console.print(_peers([row for row in kept if row["part"] == "held_out"]))


def balanced_accuracy(truth: Sequence[str], said: Sequence[str]) -> float:
    """Mean recall over the classes that occur."""
    hits = Counter(t for t, s in zip(truth, said, strict=True) if t == s)
    return statistics.mean(hits[kind] / n for kind, n in Counter(truth).items())


def wilson(hits: int, n: int) -> tuple[float, float]:
    """95 % interval of a share of `hits` in `n`: Wilson 1927."""
    if n == 0:
        return 0.0, 1.0
    z, p = 1.959964, hits / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(middle - half, 0.0), min(middle + half, 1.0)  # rounding may step over the ends


def _confusion(rows: Sequence[Row], title: str) -> Table:
    table = Table(title=title, title_justify="left", header_style="bold")
    table.add_column("is \\ said")
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
        table.add_row(kind, *counts, _share(hits, actual), _share(hits, answered))
    return table


def _share(hits: int, n: int) -> str:
    if n == 0:
        return "-"
    low, high = wilson(hits, n)
    return f"{hits}/{n} = {hits / n:.3f} ({low:.3f} to {high:.3f})"


def _bootstrap(truth: Sequence[str], said: Sequence[str], n: int = 2000) -> tuple[float, float]:
    """95 % percentile interval, resampled within each class."""
    draw = random.Random(0)
    classes: dict[str, list[str]] = {}
    for t, s in zip(truth, said, strict=True):
        classes.setdefault(t, []).append(s)
    values = sorted(
        statistics.mean(
            sum(s == kind for s in draw.choices(answers, k=len(answers))) / len(answers)
            for kind, answers in classes.items()
        )
        for _ in range(n)
    )
    return values[int(0.025 * n)], values[int(0.975 * n)]


def _peers(rows: Sequence[Row]) -> Table:
    """Each tool on the classes that it has a rule for, and the verdict on the same runs.

    None of the tools tells exploding from diverged: for them, and for the verdict in this table,
    the two are one class.
    """
    table = Table(
        title="held out part, on the classes that each tool can tell",
        title_justify="left",
        header_style="bold",
    )
    for column in ("tool", "runs", "balanced accuracy", "the verdict's", "false alarms"):
        table.add_column(column, justify="left" if column == "tool" else "right")
    for tool, kinds in CLASSES.items():
        told = [row for row in rows if row["label"] in kinds]
        truth = [_merged(row["label"]) for row in told]
        theirs = [_merged(row[tool]) for row in told]
        ours = [_merged(row["verdict"]) for row in told]
        healthy = [row for row in told if row["label"] == "healthy"]
        alarms = sum(row[tool] != "healthy" for row in healthy)
        table.add_row(
            tool,
            str(len(told)),
            f"{balanced_accuracy(truth, theirs):.2f}",
            f"{balanced_accuracy(truth, ours):.2f}",
            f"{alarms} of {len(healthy)}",
        )
    return table


def _merged(kind: str) -> str:
    return "exploding" if kind == "diverged" else kind
