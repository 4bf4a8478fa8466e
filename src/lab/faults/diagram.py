"""The reliability diagram: how often verdicts are right, by their confidence, on unseen runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gradflow.comparison.figures.style import COLOURS
from lab.faults.drawn import run as drawn_run
from lab.faults.drawn import table as drawn_table
from lab.faults.foreign import run as foreign_run
from lab.faults.runs import read_rows
from lab.faults.stats import reliability, wilson
from lab.faults.tables import Row, said_state


def draw(path: Path) -> None:
    """Draw a panel for each part of the suites that no threshold was set on."""
    rows = [r for r in read_rows(drawn_run.RESULTS) if not drawn_table.is_unclear(r)]
    others = [r for r in read_rows(foreign_run.RESULTS) if r["label"] != "unclear"]
    panels = {
        "drawn suite, held out": _judged([r for r in rows if r["part"] == "held_out"]),
        "foreign suite, held out": _judged([r for r in others if r["part"] == "held_out"]),
        "foreign suite, fresh": _judged([r for r in others if r["part"] == "fresh"]),
    }
    figure = Figure(figsize=(10, 3.8), layout="constrained")
    axes = figure.subplots(1, len(panels), sharex=True, sharey=True)
    for panel, (title, (confidence, right)) in zip(axes, panels.items(), strict=True):
        _draw_panel(panel, confidence, right)
        panel.set_title(f"{title}, n = {len(right)}", fontsize=10)
        panel.set_xlabel("confidence of the verdict")
    axes[0].set_ylabel("share of verdicts that are right\n(healthy or sick), 95 % interval")
    axes[0].legend(loc="lower right", frameon=False, fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def _judged(rows: Sequence[Row]) -> tuple[list[float], list[bool]]:
    """Return the confidence of each verdict, and whether its state is the run's."""
    truth = [r["label"] if "label" in r else drawn_table.state(r) for r in rows]
    right = [said_state(r["verdict"]) == t for r, t in zip(rows, truth, strict=True)]
    return [float(r["confidence"]) for r in rows], right


def _draw_panel(axes: Axes, confidence: Sequence[float], right: Sequence[bool]) -> None:
    axes.plot([0.5, 1], [0.5, 1], color="0.6", linestyle="--", label="as often as it says")
    for i, found in enumerate(reliability(confidence, right)):
        low, high = wilson(round(found.right * found.size), found.size)
        axes.errorbar(
            found.confidence,
            found.right,
            yerr=[[found.right - low], [high - found.right]],
            color=COLOURS[1],
            marker="o",
            capsize=3,
            label="a fifth of the runs" if i == 0 else None,
        )
    axes.set_xlim(0.5, 0.97)
    axes.set_xticks([0.5, 0.6, 0.7, 0.8, 0.9])
    axes.set_ylim(0.5, 1.02)
    axes.grid(alpha=0.3)
