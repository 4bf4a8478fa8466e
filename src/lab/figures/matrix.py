"""The matrix of a study: every pathology under every remedy, as one figure.

A cell takes the treated runs of one pathology and one remedy, over all seeds, beside the untreated
runs of the same seeds. It is drawn for any study that has at least two of both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from gradflow.comparison.columns import DECADES
from gradflow.comparison.configurations import Configuration, Figures
from gradflow.comparison.own_figures import OwnFigure
from gradflow.comparison.paired import changes_nothing, partners
from gradflow.runs.read import Run
from gradflow.runs.status import ENDED

if TYPE_CHECKING:  # takes a second, and a study without a matrix needs none
    from matplotlib.figure import Figure

NONE = "none"
LONG = 15  # letters: more reach into the next column
Outcome = Literal["cured", "cured in part", "not cured", "made worse", "already there"]


@dataclass(frozen=True)
class Cell:
    """One remedy against one pathology: its treated runs, and the untreated run of each's seed.

    A seed is cured if the treated run's verdict is healthy and the untreated one's is not.
    """

    treated: tuple[Run, ...]
    untreated: tuple[Run, ...]  # of the same seeds, in the same order

    @property
    def cured(self) -> int:
        """The number of seeds that the remedy cures."""
        pairs = zip(self.treated, self.untreated, strict=True)
        return sum(run.is_healthy and not partner.is_healthy for run, partner in pairs)

    @property
    def accuracy(self) -> Figures:
        """The treated runs' training accuracy, 0 to 1."""
        return accuracy(self.treated)

    @property
    def gain(self) -> Figures:
        """The difference in training accuracy, seed by seed."""
        before = accuracy(self.untreated).values
        return Figures(tuple(a - b for a, b in zip(self.accuracy.values, before, strict=True)))

    @property
    def outcome(self) -> Outcome:
        """What the remedy does to the pathology.

        It makes it worse if runs diverge that did not before; or, where untreated runs learn, if
        the interval of the paired difference in accuracy lies below 0: at chance there is nothing
        to lose. It is already there if it changes no setting.
        """
        if all(map(changes_nothing, self.treated, self.untreated)):
            return "already there"
        if self.cured:
            return "cured" if self.cured == len(self.treated) else "cured in part"
        low = self.gain.half_width if any(run.is_healthy for run in self.untreated) else None
        falls = low is not None and (self.gain.mean or 0.0) + low < 0
        diverges = sum(map(_diverged, self.treated)) > sum(map(_diverged, self.untreated))
        return "made worse" if falls or diverges else "not cured"


def matrix(runs: Sequence[Run]) -> dict[tuple[str, str], Cell]:
    """Return the cells by pathology and remedy, in the order of the runs.

    The cells of the remedy `none` have the untreated runs on both sides. A run that has not ended,
    or has no partner of its seed, is left out.
    """
    ended = [run for run in runs if run.state in ENDED and "pathology" in run.axes]
    pairs = partners(ended)
    cells: dict[tuple[str, str], list[tuple[Run, Run]]] = {}
    for run in ended:
        remedy = run.axes.get("remedy", NONE)
        partner = run if remedy == NONE else pairs.get(run.folder)
        if partner is not None:
            cells.setdefault((run.axes["pathology"], remedy), []).append((run, partner))
    return {
        place: Cell(tuple(run for run, _ in found), tuple(partner for _, partner in found))
        for place, found in cells.items()
    }


def accuracy(runs: Sequence[Run]) -> Figures:
    """Return the runs' training accuracy, mean of the last logged steps, 0 to 1."""
    return Figures(tuple(run.metrics.get("train/accuracy", float("nan")) for run in runs))


def _diverged(run: Run) -> bool:
    return run.diverged_at is not None


def draw(runs: Sequence[Run]) -> Figure:
    """Draw the matrix: a row for each pathology, a column for each remedy.

    Raises:
        ValueError: unless the runs have two pathologies and two remedies.
    """
    cells = matrix(runs)
    pathologies = list(dict.fromkeys(pathology for pathology, _ in cells if pathology != NONE))
    remedies = list(dict.fromkeys(remedy for _, remedy in cells))
    remedies.sort(key=lambda remedy: (remedy != NONE, remedy.count("+")))  # stable
    if min(len(pathologies), len(remedies) - 1) < 2:
        raise ValueError("fewer than two pathologies or two remedies")
    return _drawn(cells, pathologies, remedies)


def _drawn(
    cells: dict[tuple[str, str], Cell], pathologies: list[str], remedies: list[str]
) -> Figure:
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch, Rectangle

    # Okabe & Ito 2008, lightened, so that black text is read on each; the words say it as well.
    fills = dict(
        zip(get_args(Outcome), ("#8CCDB9", "#D5E8A8", "#EDEDED", "#F2B48C", "#FFFFFF"), strict=True)
    )
    head = 0.25 + 0.22 * max(_head(remedy).count("\n") + 1 for remedy in remedies)
    height = 0.72 * (len(pathologies) + head + 0.85)
    figure = Figure(figsize=(2.2 + 1.15 * len(remedies), height))
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set(xlim=(-1.75, len(remedies) + 0.05), ylim=(len(pathologies) + 0.85, -head))
    axes.axis("off")
    for column, remedy in enumerate(remedies):
        text = _head(remedy)
        axes.text(column + 0.5, -0.12, text, ha="center", va="bottom", fontsize=8)
    for row, pathology in enumerate(pathologies):
        axes.text(-0.08, row + 0.5, pathology, ha="right", va="center", fontsize=9)
        for column, remedy in enumerate(remedies):
            cell = cells.get((pathology, remedy))
            if cell is None:
                continue
            untreated = remedy == NONE
            fill = "#FFFFFF" if untreated else fills[cell.outcome]
            axes.add_patch(
                Rectangle((column, row), 1, 1, facecolor=fill, edgecolor="#8A8A8A", linewidth=0.6)
            )
            first, *rest = _lines(cell, untreated=untreated)
            axes.text(column + 0.5, row + 0.24, first, ha="center", va="center", fontsize=8.5)
            axes.text(
                column + 0.5, row + 0.65, "\n".join(rest), ha="center", va="center", fontsize=7
            )
    names = [Patch(facecolor=fill, edgecolor="#8A8A8A", label=name) for name, fill in fills.items()]
    axes.legend(handles=names, loc="lower center", ncols=len(names), frameon=False, fontsize=8.5)
    return figure


def _head(remedy: str) -> str:
    """Return a column's head: a line for each remedy, two for one with a long name."""
    words = ["untreated"] if remedy == NONE else remedy.split("+")
    return "\n+ ".join(w.replace("_", "_\n", 1) if len(w) > LONG else w for w in words)


def _lines(cell: Cell, *, untreated: bool) -> list[str]:
    """Return what stands in a cell: how many seeds learn, the accuracy, the decades."""
    n = len(cell.treated)
    healthy = sum(run.is_healthy for run in cell.treated)
    head = f"{healthy} of {n} learn" if untreated else f"{cell.cured} of {n} cured"
    if not untreated and cell.outcome == "already there":
        head = "already there"
    figures = cell.accuracy
    mean = 100 * (figures.mean or 0.0)
    spread = "" if figures.half_width is None else f" ± {100 * figures.half_width:.0f}"
    lines = [head, f"{mean:.0f}{spread} %"]
    after = Configuration((), cell.treated).figures(DECADES).mean
    if after is not None:
        lines.append(f"{after:+.1f} decades")
    return lines


MATRIX = OwnFigure(
    "matrix",
    "Each pathology under each remedy: the seeds that the remedy cures (its verdict is healthy, "
    "and that of the untreated net of the same seed is not); training accuracy, mean and 95 % "
    "t-interval over the seeds; dL/dz of the first layer over the last's, decades, before the "
    "first step. Chance is 10 %.",
    draw,
)
