"""Export the table over runs for papers and other programs: Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gradflow.comparison.columns import columns, metric
from gradflow.comparison.configurations import Column, Configuration
from gradflow.comparison.table import TEXT_COLUMNS, cells


def markdown(keys: Sequence[str], rows: Sequence[Configuration]) -> str:
    """Return the table of the terminal as a Markdown table."""
    heads, lines = cells(keys, rows)
    heads = [head.replace("\n", " ") for head in heads]
    sides = [":---" if head in keys or head in TEXT_COLUMNS else "---:" for head in heads]
    escaped = [[_escaped(cell) for cell in line] for line in (heads, sides, *lines)]
    return "".join(f"| {' | '.join(line)} |\n" for line in escaped)


def as_csv(keys: Sequence[str], rows: Sequence[Configuration]) -> str:
    """Return one line for each configuration: settings, n, verdicts, states, then the figures.

    Each figure has three columns, `<name>_mean`, `<name>_sd` and `<name>_n`, in its own unit: a
    share is not in per cent, `first_over_last` is in decades, `seconds` in seconds. A missing value
    is an empty field.
    """
    columns = _columns(rows)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    ends = [f"{column.name}_{end}" for column in columns for end in ("mean", "sd", "n")]
    writer.writerow([*keys, "n", "shows", "state", *ends])
    for row in rows:
        figures = [row.figures(column) for column in columns]
        numbers = [number for f in figures for number in (f.mean, f.sd, f.n)]
        writer.writerow([*row.values, len(row.runs), row.outcomes, row.states, *numbers])
    return text.getvalue()


def as_json(keys: Sequence[str], rows: Sequence[Configuration]) -> str:
    """Return a list of configurations, each with its figures' mean, sd and n, and with its runs.

    JSON has no non-finite numbers: they are written as the texts "inf", "-inf" and "nan".
    """
    columns = _columns(rows)
    listed = [
        {
            "settings": dict(zip(keys, row.values, strict=True)),
            "n": len(row.runs),
            "figures": {
                column.name: {"mean": figures.mean, "sd": figures.sd, "n": figures.n}
                for column in columns
                if (figures := row.figures(column)).n
            },
            "runs": [
                {
                    "folder": str(run.folder),
                    "settings": run.settings,
                    "state": run.state,
                    "error": run.error,
                    "problems": run.problems,
                    "verdict": run.verdict.kind if run.verdict else None,
                    "evidence": run.verdict.evidence if run.verdict else None,
                    "steps": run.steps,
                    "figures": {
                        column.name: value
                        for column in columns
                        if (value := column.value(run)) is not None
                    },
                }
                for run in row.runs
            ],
        }
        for row in rows
    ]
    return (
        json.dumps(_finite(listed), indent=2, ensure_ascii=False, allow_nan=False, default=str)
        + "\n"
    )


FORMATS: Mapping[str, Callable[[Sequence[str], Sequence[Configuration]], str]] = {
    "markdown": markdown,
    "csv": as_csv,
    "json": as_json,
}


def _columns(rows: Sequence[Configuration]) -> list[Column]:
    """Return the table's columns, and every other metric that a run has."""
    runs = [run for row in rows for run in row.runs]
    table = columns(runs)
    known = {column.name for column in table}
    names = dict.fromkeys(name for run in runs for name in run.metrics)
    return [*table, *(metric(name) for name in names if name not in known)]


def _escaped(cell: str) -> str:
    return " ".join(cell.split()).replace("|", r"\|").replace("<", "&lt;")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
