"""Figures of a project's own, drawn over all runs of a study: on its page, and as files.

conf/ lists their import paths. They come from the reader's own conf/, never from a run's folder.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gradflow.runs.config import import_named
from gradflow.runs.read import Run

if TYPE_CHECKING:  # takes a second, and most tables need none
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class OwnFigure:
    """A figure: `name` is its file's name and `note` stands below it on the page.

    `draw` returns the figure of some runs. It raises ValueError, with the reason, where the runs
    have nothing for it to show; the page then leaves it out.
    """

    name: str
    note: str
    draw: Callable[[Sequence[Run]], Figure]


def load_figures(paths: Sequence[str]) -> list[OwnFigure]:
    """Import the figures at `paths`. ConfigError if one cannot be imported or is no OwnFigure."""
    return [import_named(path, OwnFigure, "comparison.figures") for path in paths]
