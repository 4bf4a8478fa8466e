"""What foretells, before the first step or by step 20, that a treated net will learn.

Each predictor gives every run of a study a number that is higher where learning is expected. It is
rated by the probability that it orders a run that learns before one that does not (the area under
the ROC curve; 0.5 is chance). Intervals resample whole pathologies, since runs of one are alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gradflow.comparison.own_figures import OwnFigure
from gradflow.comparison.paired import net_of
from gradflow.gradients.flow import Flow
from gradflow.gradients.verdict import diagnose
from gradflow.runs.read import Run
from gradflow.runs.status import ENDED
from lab.figures.depth import mean_field_of

if TYPE_CHECKING:  # takes a second, and most studies need no figure
    from matplotlib.figure import Figure

EARLY = 20  # steps
_SAMPLES = 2000
FEWEST = 30  # runs that learn, and runs that do not, for a figure


class Rating(NamedTuple):
    """The area under the ROC curve over n runs, with its interval of 95 %."""

    area: float
    low: float
    high: float
    n: int


def _gradient(run: Run, flows: list[Flow]) -> float | None:
    decades = flows[0].first_over_last
    return None if math.isnan(decades) else -abs(decades)


def _signal(run: Run, flows: list[Flow]) -> float | None:
    z = flows[0].pre_activation[:-1]  # without the logits
    known = z[np.isfinite(z)]
    return -abs(float(known[-1] - known[0])) if len(known) > 1 else None


def _criticality(run: Run, flows: list[Flow]) -> float | None:
    found = mean_field_of(run)
    return None if found is None or found.chi_1 <= 0 else -abs(math.log(found.chi_1))


def _early(run: Run, flows: list[Flow]) -> float | None:
    return float(diagnose(flows).kind == "healthy")


PREDICTORS: dict[str, Callable[[Run, list[Flow]], float | None]] = {
    "dL/dz, first over last layer: near 0 decades": _gradient,
    "z, last over first layer: near 0 decades": _signal,
    "mean field: chi_1 near 1 (plain nets, no norm)": _criticality,
    f"the verdict by step {EARLY}: healthy": _early,
}


def ratings(runs: Sequence[Run]) -> dict[str, Rating]:
    """Rate each predictor over the ended runs for which it has a number.

    Equal runs, as of a remedy that was already there, count once.
    """
    judged = [run for run in runs if run.state in ENDED and run.verdict is not None]
    ended = list({net_of(run): run for run in judged[::-1]}.values())[::-1]
    records = [run.flows(until=EARLY) for run in ended]
    found = {}
    for name, predictor in PREDICTORS.items():
        rows = [
            (value, run.is_healthy, run.axes.get("pathology", ""))
            for run, flows in zip(ended, records, strict=True)
            if flows and (value := predictor(run, flows)) is not None
        ]
        if rows:
            found[name] = _rated(*map(np.array, zip(*rows, strict=True)))
    return found


def _rated(
    values: NDArray[np.float64], learns: NDArray[np.bool_], groups: NDArray[np.str_]
) -> Rating:
    members = [np.flatnonzero(groups == group) for group in dict.fromkeys(groups.tolist())]

    source = np.random.default_rng(0)
    areas = []
    for _ in range(_SAMPLES):
        rows = np.concatenate(
            [members[i] for i in source.integers(len(members), size=len(members))]
        )
        areas.append(area(values[rows], learns[rows]))
    low, high = np.nanpercentile(areas, (2.5, 97.5))  # a resample may hold one class only
    return Rating(area(values, learns), float(low), float(high), len(values))


def area(values: NDArray[np.float64], positive: NDArray[np.bool_]) -> float:
    """Return the area under the ROC curve: Mann & Whitney 1947; ties count half.

    NaN if all values are of one class.
    """
    from scipy.stats import rankdata  # takes most of a second

    n, m = int(positive.sum()), int((~positive).sum())
    if not n or not m:
        return math.nan
    ranks = rankdata(values)
    return float((ranks[positive].sum() - n * (n + 1) / 2) / (n * m))


def draw(runs: Sequence[Run]) -> Figure:
    """Draw the rating of each predictor.

    Raises:
        ValueError: unless the runs have three pathologies, and many that learn and that do not.
    """
    treated = [run for run in runs if run.axes.get("pathology", "none") != "none"]
    learning = sum(run.is_healthy for run in treated)
    pathologies = {run.axes["pathology"] for run in treated}
    if min(learning, len(treated) - learning) < FEWEST or len(pathologies) < 3:
        raise ValueError("fewer than three pathologies, or too few runs that learn or do not")
    found = ratings(treated)

    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.6, 2.6), layout="constrained")
    axes = figure.subplots()
    for place, rating in enumerate(found.values()):
        axes.plot([rating.low, rating.high], [place, place], color="#0072B2", linewidth=2)
        axes.plot([rating.area], [place], "o", color="#0072B2", markersize=7)
        axes.text(1.02, place, f"{rating.area:.2f}, n = {rating.n}", va="center", fontsize=8)
    axes.axvline(0.5, color="#888888", linewidth=0.8)
    axes.text(0.51, -0.75, "chance", fontsize=8, color="#555555")
    axes.set_yticks(range(len(found)), list(found))
    axes.set(
        xlim=(0.3, 1.2), ylim=(len(found) - 0.4, -0.95), xticks=(0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1)
    )
    axes.set_xlabel("area under the ROC curve; 95 % interval over pathologies")
    axes.grid(axis="x", color="#e2e2e2", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


FORETOLD = OwnFigure(
    "predictors",
    "What foretells that a net will learn: three numbers from before the first step, and the "
    "verdict by step 20. An area of 1 orders every run that learns before every other.",
    draw,
)
