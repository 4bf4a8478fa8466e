"""The order of the remedies: how much each cures alone, and as one more to those before it.

The subject's text lists six remedies "in order of relevance". The order is measured twice: on the
pathologies of a study, which were chosen by hand, and on the sick nets of the drawn suite, which
were not. A share counts nets: a pathology is cured if it is cured in every seed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from gradflow.comparison.own_figures import OwnFigure
from gradflow.comparison.paired import net_of
from gradflow.runs.read import Run
from lab.faults.stats import wilson
from lab.figures.matrix import Cell, matrix

if TYPE_CHECKING:  # takes a second, and most studies need no figure
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# As the text lists them, with the names of the remedies in conf/lab.
TEXT = {
    "relu": "ReLU-like activations",
    "batch_norm": "batch normalization",
    "lower_lr": "a lower learning rate",
    "resnet": "skip connections",
    "xavier": "initialization",
    "clip": "gradient clipping",
}


class Share(NamedTuple):
    """Of `n` nets, `hits`."""

    hits: int
    n: int

    @property
    def value(self) -> float:
        """The share; NaN of no net."""
        return self.hits / self.n if self.n else float("nan")


def alone(cells: Mapping[tuple[str, str], Cell]) -> dict[str, Share]:
    """Return the share of pathologies that each remedy cures alone, of those that lack it."""
    return {remedy: _share(_outcomes(cells, remedy)) for remedy in TEXT}


def together(cells: Mapping[tuple[str, str], Cell]) -> dict[str, Share]:
    """Return the share of different nets that each remedy cures with all before it in the text."""
    names = list(TEXT)
    found = {}
    for i, name in enumerate(names):
        outcomes = _outcomes(cells, "+".join(names[: i + 1]))
        found[name] = Share(list(outcomes.values()).count("cured"), len(outcomes))
    return found


def drawn() -> dict[str, Share]:
    """Return the share of the drawn suite's sick nets that one sane setting alone cures.

    Each is counted over the nets that lack it: a ReLU in place of a sigmoid or tanh, batch norm
    before the activation, a learning rate that was too high set to a usual one, the initialization
    that fits the activation, clipping to norm 1. The suite's nets have no blocks around which a
    skip connection could lead. Nets whose counterfactuals were not all trained are left out.
    """
    from lab.faults.drawn.causes import SANE_LR, counterfactuals
    from lab.faults.drawn.draws import draw
    from lab.faults.drawn.run import RESULTS
    from lab.faults.runs import read_rows

    settings = {"activation": "relu", "norm": "batch_norm", "init": "xavier", "clip": "clip"}
    counts = {name: [0, 0] for name in TEXT}
    for row in read_rows(RESULTS):
        if row["learned"] == "True" or not row["cures"]:
            continue
        made, cures = draw(row["part"], int(row["seed"])), row["cures"].split("+")
        lacking = [setting for setting in counterfactuals(made) if setting in settings]
        tried = {settings[setting]: setting in cures for setting in lacking}
        if made.lr > SANE_LR[made.optimizer]:
            tried["lower_lr"] = "lr" in cures
        for name, cured in tried.items():
            counts[name][0] += cured
            counts[name][1] += 1
    return {name: Share(hits, n) for name, (hits, n) in counts.items()}


def _outcomes(cells: Mapping[tuple[str, str], Cell], remedy: str) -> dict[str, str]:
    """Return the outcomes by pathology. Pathologies that a remedy makes the same net count once."""
    found: dict[str, str] = {}
    nets: set[str] = set()
    for (pathology, treated), cell in cells.items():
        net = net_of(cell.treated[0])
        if treated == remedy and pathology != "none" and net not in nets:
            nets.add(net)
            found[pathology] = cell.outcome
    return found


def _share(outcomes: Mapping[str, str]) -> Share:
    tried = [outcome for outcome in outcomes.values() if outcome != "already there"]
    return Share(tried.count("cured"), len(tried))


def draw_order(runs: Sequence[Run]) -> Figure:
    """Draw the shares beside the text's rank.

    Raises:
        ValueError: unless the runs hold each of the six alone, against two pathologies or more.
    """
    cells = matrix(runs)
    singles = alone(cells)
    if min(share.n for share in singles.values()) < 2:
        raise ValueError("not all six remedies, each against two pathologies")
    panels = {"alone, on the chosen pathologies": singles}
    joint = together(cells)
    if all(share.n for share in joint.values()):
        panels["with all before it in the text"] = joint
    panels["alone, on the sick nets drawn at random"] = drawn()

    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.0 + 3.0 * len(panels), 3.6), layout="constrained")
    found = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, (title, shares) in zip(found, panels.items(), strict=True):
        _panel(axes, title, shares)
    found[0].set_yticks(
        range(len(TEXT)), [f"{rank}. {text}" for rank, text in enumerate(TEXT.values(), 1)]
    )
    found[0].invert_yaxis()
    figure.supxlabel("share of nets that are cured, %; 95 % interval (Wilson 1927)", fontsize=9)
    return figure


def _panel(axes: Axes, title: str, shares: Mapping[str, Share]) -> None:
    for place, share in enumerate(shares.values()):
        if not share.n:
            axes.text(2, place, "not tried", va="center", fontsize=8, color="#555555")
            continue
        low, high = (100 * end for end in wilson(share.hits, share.n))
        axes.plot([low, high], [place, place], color="#0072B2", linewidth=2)
        axes.plot([100 * share.value], [place], "o", color="#0072B2", markersize=7)
        axes.text(108, place, f"{share.hits}/{share.n}", va="center", fontsize=8)
    axes.set(xlim=(-3, 130), xticks=(0, 25, 50, 75, 100))
    axes.set_title(title, fontsize=9)
    axes.grid(axis="x", color="#e2e2e2", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


ORDER = OwnFigure(
    "order",
    "The six remedies in the order of the subject's text, and the share of nets that each cures: "
    "alone, as one more to all before it, and alone on nets that were drawn at random. Of the "
    "pathologies, those that have the remedy already are not counted where it is alone.",
    draw_order,
)
