"""Print the table over runs: one row per configuration, mean ± standard deviation.

A difference to a baseline is the mean ± half of its 95 % interval.
"""

from __future__ import annotations

import math
import os
import sys
from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from gradflow.comparison.columns import DECADES, columns
from gradflow.comparison.configurations import Column, Configuration, Figures, short_values

TEXT_COLUMNS = ("what it shows", "state")  # heads of columns without numbers


def print_table(
    keys: Sequence[str],
    rows: Sequence[Configuration],
    title: str,
    console: Console | None = None,
) -> None:
    """Print the rows of `configurations`, and below them the errors and damaged files of runs."""
    known = sys.stdout.isatty() or "COLUMNS" in os.environ
    console = console or Console(width=None if known else 140)
    table = Table(title=escape(title), title_justify="left", header_style="bold", expand=False)
    heads, body = cells(keys, rows)
    for head in heads:
        left = head in keys or head in TEXT_COLUMNS
        table.add_column(escape(head), justify="left" if left else "right", overflow="fold")
    for line in body:
        table.add_row(*map(escape, line))
    console.print(table)
    runs = [run for row in rows for run in row.runs]
    for run in runs:
        lines = [f"{run.state}: {run.folder}: {run.error}"] if run.error else []
        lines += [f"damaged: {run.folder}: {problem}" for problem in run.problems]
        for text in lines:
            console.print(text, markup=False, highlight=False, soft_wrap=True)
    counts = Counter(run.state for run in runs)
    if set(counts) != {"finished"}:
        console.print(", ".join(f"{n} {state}" for state, n in counts.items()))


def cells(keys: Sequence[str], rows: Sequence[Configuration]) -> tuple[list[str], list[list[str]]]:
    """Return the heads and the cells of the table as text, without columns that say nothing.

    `n` is left out if no configuration has several runs, a figure if no run has it, and the state
    if every run is finished.
    """
    several = any(len(row.runs) > 1 for row in rows)
    unfinished = any(run.state != "finished" for row in rows for run in row.runs)
    possible = columns([run for row in rows for run in row.runs])
    filled = [column for column in possible if any(row.figures(column).n for row in rows)]
    heads = [*keys, *(["n"] if several else []), *(column.title for column in filled)]
    heads += ["what it shows", *(["state"] if unfinished else [])]
    lines = [
        [
            *shown,
            *([str(len(row.runs))] if several else []),
            *(formatted(row.figures(column), column, len(row.runs)) for column in filled),
            row.outcomes,
            *([row.states] if unfinished else []),
        ]
        for row, shown in zip(rows, short_values(rows), strict=True)
    ]
    return heads, lines


def formatted(figures: Figures, column: Column, runs: int = 1) -> str:
    """Format a mean, its standard deviation, and n if not all runs have a value.

    Infinite decades are not averaged: a text says for how many runs the first or last is 0.
    """
    finite = Figures(tuple(value for value in figures.values if math.isfinite(value)))
    out = []
    if column is DECADES and finite.n < figures.n:
        counts = Counter(
            "first" if value < 0 else "last"
            for value in figures.values
            if value not in finite.values
        )
        many = figures.n > 1
        out = [f"{f'{n} of {figures.n}: ' if many else ''}{end} is 0" for end, n in counts.items()]
        figures = finite
    if (mean := figures.mean) is not None:
        number = format(mean * column.factor, column.form)
        spread = figures.half_width if column.interval else figures.sd
        if spread is not None:
            number += f" ± {spread * column.factor:{column.form.lstrip('+')}}"
        n_is_known = figures.n == runs or out
        out.append(number if n_is_known else f"{number} (n={figures.n})")
    return "; ".join(out) or "-"
