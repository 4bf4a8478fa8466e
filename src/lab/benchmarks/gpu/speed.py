"""Time steps: watched against unwatched, and the template against a bare loop.

The runs take turns of some steps in one process, so that a change of the device's clock slows all
alike. Each has a user's offline W&B logger, as in `gradients.py`. Wall time, with the device's
queue empty at both ends of a turn. On a CPU nothing here is a figure to quote.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from lab.benchmarks import step
from lab.benchmarks.gpu.figure import Figure, median
from lab.benchmarks.gpu.scale import Scale
from lab.benchmarks.gradients import Case, Watched

OVERHEAD, SPEED = "overhead", "speed"
_STEPS_GOAL = 1.02  # the template's step over a bare loop
_GOALS = {"default schedule": 1.005, "every step": 1.05}


def measure_overhead(scale: Scale, precision: str, seconds: float) -> list[Figure]:
    """Time the monitor in one precision; no round begins after `seconds`."""
    until = time.perf_counter() + seconds
    case = Case("", [*scale.overrides, f"precision={precision}"], scale.turn, 1)
    runs = {
        "unwatched": Watched(),
        "default schedule": Watched("monitor", 0),
        "every step": Watched("monitor", 1),
    }
    steps = (1 + scale.rounds) * scale.turn + 1
    took: dict[str, list[float]] = {name: [] for name in runs}
    with tempfile.TemporaryDirectory() as folder:
        for name, run in runs.items():
            run.start(case, Path(folder) / name.replace(" ", "_"), steps)
            run.take(scale.turn)  # warm-up
        names = list(runs)
        for number in range(scale.rounds):
            if time.perf_counter() > until:
                break
            for name in names[number % 3 :] + names[: number % 3]:  # no run is always first
                took[name].append(runs[name].take(scale.turn).wall / scale.turn)
        for run in runs.values():
            run.finish()
    base = took["unwatched"]
    rates = [scale.batch_size / one for one in base]
    figures = [
        median(SPEED, f"{precision}, unwatched", rates, "images/s"),
        median(OVERHEAD, f"{precision}, unwatched", [one * 1e3 for one in base], "ms a step"),
    ]
    for name, goal in _GOALS.items():
        ratios = [own / other for own, other in zip(took[name], base, strict=True)]
        note = ""
        if base:
            note = f"all rounds as one: {sum(took[name]) / sum(base):.4f}"
        figures.append(
            median(OVERHEAD, f"{precision}, {name}", ratios, "times unwatched", goal, note)
        )
    return figures


def measure_template(scale: Scale) -> list[Figure]:
    """Time the template's step against a bare loop of the same net and batches, in fp32."""
    pairs = step.measure(scale.overrides, scale.turn, scale.rounds, scale.device)
    ratios = [own / bare for own, bare in pairs]
    return [
        median(SPEED, "32-true, template", [own for own, _ in pairs], "ms a step"),
        median(SPEED, "32-true, bare loop", [bare for _, bare in pairs], "ms a step"),
        median(SPEED, "32-true, template", ratios, "times the bare loop", _STEPS_GOAL),
    ]
