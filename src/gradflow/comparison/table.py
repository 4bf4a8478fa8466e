"""The table over runs: one row a run, and in words what it shows.

What it shows is the run's own verdict; nothing is known beforehand of which remedy should help.
"""

from __future__ import annotations

import math
import statistics
import sys
from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from gradflow.comparison.runs import Run


def print_table(runs: Sequence[Run], title: str, console: Console | None = None) -> None:
    """Print one row for each configuration, oldest first: mean ± standard deviation over seeds."""
    console = console or Console(width=None if sys.stdout.isatty() else 140)
    keys = [key for key in differing_axes(runs) if key != "seed"] or ["remedy"]
    rows: dict[tuple[str, ...], list[Run]] = {}
    for run in runs:
        values = tuple(value_of(run, key) for key in keys)
        if not run.config:  # nothing is known of it but where it lies
            values = (run.folder.name, *values[1:])
        rows.setdefault(values, []).append(run)
    several = any(len(group) > 1 for group in rows.values())
    table = Table(title=title, title_justify="left", header_style="bold", expand=False)
    for key in keys:
        table.add_column(key)
    if several:
        table.add_column("n", justify="right")
    table.add_column("dL/dz of the first\nlayer over the last's,\ndecades, step 0", justify="right")
    table.add_column("train\naccuracy, %", justify="right")
    table.add_column("validation\naccuracy, %", justify="right")
    table.add_column("seconds", justify="right")
    table.add_column("what it shows")
    for values, group in rows.items():
        table.add_row(
            *values,
            *([str(len(group))] if several else []),
            _decades([first_over_last(run) for run in group]),
            _percent([run.metrics.get("train/accuracy") for run in group]),
            _percent([run.metrics.get("validation/accuracy") for run in group]),
            f"{statistics.mean(run.seconds for run in group):.0f}",
            _together([what_it_shows(run) for run in group]),
        )
    console.print(table)
    counts = Counter(run.state for run in runs)
    if set(counts) != {"finished"}:
        console.print(", ".join(f"{n} {state}" for state, n in counts.items()))


def differing_axes(runs: Sequence[Run]) -> list[str]:
    """Return what tells the runs apart: `case` where all have one, else the axes that were swept.

    A remedy changes further axes; where pathology, remedy and seed already tell all runs apart,
    those are left out.
    """
    runs = [run for run in runs if run.config]  # the others differ in nothing that is known
    if len(runs) > 1 and all(run.config.get("case") for run in runs):
        candidates = ["case"]
    else:
        candidates = ["pathology", "remedy"]
    candidates.append("seed")
    keys = [key for key in candidates if len({value_of(run, key) for run in runs}) > 1]
    told_apart = {tuple(value_of(run, key) for key in keys) for run in runs}
    if len(told_apart) == len(runs):
        return keys or ["remedy"]
    more = [key for run in runs for key in run.axes if key not in keys]
    keys += [key for key in dict.fromkeys(more) if len({value_of(run, key) for run in runs}) > 1]
    scalars = [key for run in runs for key, v in run.config.items() if isinstance(v, int | float)]
    keys += [
        key
        for key in dict.fromkeys(scalars)
        if key not in keys and len({value_of(run, key) for run in runs}) > 1
    ]
    return keys or ["remedy"]


def value_of(run: Run, key: str) -> str:
    """Return an axis' choice or a single value of the run's configuration, as text."""
    value = run.axes.get(key, run.config.get(key))
    return str(value) if run.config else "-"


def first_over_last(run: Run) -> float | None:
    """Return the decades between dL/dz of the last nonlinearity and of the first, before step 1.

    -inf where the first is 0, None where nothing was recorded or either is not a number.
    """
    flow = run.flow(step=0)
    if flow is None or math.isnan(flow.first_over_last):
        return None
    return flow.first_over_last


def what_it_shows(run: Run) -> str:
    """Say what came of a run: its verdict, and whether a remedy has cured a pathology."""
    if run.state != "finished":
        return f"{run.state}: {run.error}" if run.error else run.state
    if run.verdict is not None:
        said: str = run.verdict.kind
    else:
        said = "diverged" if run.diverged_at is not None else "not watched"
    sick = run.axes.get("pathology") not in (None, "none")
    treated = run.axes.get("remedy") not in (None, "none")
    if not (sick and treated) or said == "not watched":
        return said
    return f"{said}: cured" if said == "healthy" else f"{said}: no cure here"


def _together(words: Sequence[str]) -> str:
    """Join what the seeds of one configuration show, the most frequent first."""
    counts = Counter(words)
    if len(counts) == 1:
        return words[0]
    return "; ".join(f"{n} of {len(words)}: {word}" for word, n in counts.most_common())


def _decades(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    if any(math.isinf(value) for value in known):
        return "first is 0"
    return _mean_and_spread(known, "+.1f")


def _percent(values: Sequence[float | None]) -> str:
    known = [100 * value for value in values if value is not None and math.isfinite(value)]
    return _mean_and_spread(known, ".1f") if known else "-"


def _mean_and_spread(values: Sequence[float], form: str) -> str:
    mean = format(statistics.mean(values), form)
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.1f}"
