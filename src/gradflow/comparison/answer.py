"""What a study shows, in words: of each thing that was treated, what cured it.

A run is cured if its verdict is healthy and that of its partner (see `paired.py`) is not; a
configuration, if all of its seeds are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from gradflow.comparison.configurations import Column, Configuration
from gradflow.comparison.paired import baseline_of, changes_nothing, difference, partners
from gradflow.comparison.table import formatted
from gradflow.runs.read import Run
from gradflow.runs.settings import text
from gradflow.runs.status import ENDED

MOST, NAMED = 20, 6  # sentences, and configurations in each
LONGEST = 500  # characters of a note


def answers(keys: Sequence[str], rows: Sequence[Configuration]) -> list[str]:
    """Return the studies' own notes, and a sentence for each thing that was sick and treated."""
    runs = [run for row in rows for run in row.runs]
    pairs, gain = partners(runs), difference(runs)
    found: dict[str, list[tuple[Configuration, bool]]] = {}
    for row in rows:
        judged = [(run, pairs.get(run.folder)) for run in row.runs]
        if all(partner is not None and _was_treated(run, partner) for run, partner in judged):
            cured = all(run.is_healthy for run in row.runs)
            found.setdefault(_treated(keys, row), []).append((row, cured))
    said = [_sentence(name, tried, gain) for name, tried in list(found.items())[:MOST]]
    if gain is not None and any("(" in sentence for sentence in said):
        said.append(f"In brackets: {' '.join(gain.title.split())}.")
    return [*_notes(runs), *said]


def _notes(runs: Sequence[Run]) -> list[str]:
    studies = [run.config.get("study") for run in runs]
    found = [study.get("note") for study in studies if isinstance(study, dict)]
    notes = dict.fromkeys(note for note in found if isinstance(note, str))
    return [f"Note: {_plain(note)}" for note in notes]


def _plain(note: str) -> str:
    """Return a note on one line, without what would move a terminal's cursor."""
    printable = "".join(letter if letter.isprintable() else " " for letter in note)
    return " ".join(printable.split())[:LONGEST]


def _sentence(name: str, tried: list[tuple[Configuration, bool]], gain: Column | None) -> str:
    cured = [row for row, is_cured in tried if is_cured]
    count = f"{len(cured) or 'none'} of {len(tried)} cured it"
    said = []
    for row in cured[:NAMED]:
        said.append(_treatment(row))
        figures = None if gain is None else row.figures(gain)
        if gain and figures and figures.mean is not None and math.isfinite(figures.mean):
            said[-1] += f" ({formatted(figures, gain, figures.n)})"
    if len(cured) > NAMED:
        said.append(f"and {len(cured) - NAMED} more")
    start = f"{name}: {count}" if name else count
    return f"{start}: {', '.join(said)}." if said else f"{start}."


def _was_treated(run: Run, partner: Run) -> bool:
    """Whether the partner is sick, and the run has ended and differs from it."""
    sick = partner.verdict is not None and not partner.is_healthy
    return sick and run.state in ENDED and not changes_nothing(run, partner)


def _treated(keys: Sequence[str], row: Configuration) -> str:
    """Return what the rows share that are compared with one baseline."""
    baseline = baseline_of(row.runs[0])
    shared = [v for key, v in zip(keys, row.values, strict=True) if key not in (*baseline, "case")]
    pathology = row.runs[0].axes.get("pathology", "none")
    if "pathology" not in keys and pathology != "none":
        shared.insert(0, pathology)
    return ", ".join(value for value in shared if value != "-")


def _treatment(row: Configuration) -> str:
    baseline = baseline_of(row.runs[0])
    return ", ".join(text(row.runs[0].settings.get(key)) for key in baseline)
