"""The table over runs: one row a run, and in words what it shows.

The words follow from the run's own figures by the few rules of `what_it_shows`; nothing is known
beforehand of which remedy should help.
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

# A first layer whose weight gradients are a thousand times smaller, or larger, than the last one's.
_WARNING_DECADES = 3.0
_CLASSES = 10
_LEARNS = 0.05  # train accuracy above chance, over the last logged steps, that counts as learning


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
    table.add_column(
        "gradient of the first\nlayer over the last's,\ndecades, step 0", justify="right"
    )
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
    """Return log10 of the first layer's weight-gradient RMS over the last layer's, before step 1.

    -inf where the first is 0, None where nothing was recorded or either is not a number.
    """
    layers = run.layer_gradients(step=0)
    if len(layers) < 2:
        return None
    first, last = layers[0][1], layers[-1][1]
    if first is None or last is None or (math.isinf(first) and math.isinf(last)):
        return None
    return first - last


def what_it_shows(run: Run) -> str:
    """Say in words what the figures say: the gradient at the start, and whether the run learns."""
    if run.state != "finished":
        return f"{run.state}: {run.error}" if run.error else run.state
    decades = first_over_last(run)
    parts = []
    if decades is not None and decades <= -_WARNING_DECADES:
        parts.append("gradient vanishes")
    elif decades is not None and decades >= _WARNING_DECADES:
        parts.append("gradient explodes")
    if run.diverged_at is not None:
        parts.append(f"diverges by step {run.diverged_at}")
    elif (accuracy := run.metrics.get("train/accuracy")) is not None:
        chance = 1 / _CLASSES
        parts.append("learns" if accuracy >= chance + _LEARNS else "stays at chance")
    cured = parts == ["learns"] and run.axes.get("remedy") not in (None, "none")
    uncured = len(parts) > 0 and not cured and run.axes.get("remedy") not in (None, "none")
    sick = run.axes.get("pathology") not in (None, "none")
    ending = ": cured" if cured and sick else ": no cure here" if uncured and sick else ""
    return ", ".join(parts) + ending


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
