"""Train a sick run with the remedies that its verdict recommends, and with random ones.

python scripts/lab/treat.py outputs/<run> --seeds 2 --steps 200
"""

import argparse
import math
import statistics
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from gradflow.launch import cli
from lab.treatment import LONGEST, Trial, treat


def main() -> None:
    """Train the treatments of one run; print a table and a summary in one sentence."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "run", type=Path, help="the folder of a run whose verdict recommends remedies"
    )
    parser.add_argument("--seeds", type=int, default=2, help="seeds per treatment (default: 2)")
    parser.add_argument(
        "--steps", type=int, help=f"steps per training (default: the run's, at most {LONGEST})"
    )
    parser.add_argument(
        "--random", type=int, metavar="K", help="random remedies (default: as many as recommended)"
    )
    parser.add_argument(
        "--trust", action="store_true", help="run code that a run of somebody else's names"
    )
    arguments = parser.parse_args()
    trial = treat(
        arguments.run,
        arguments.seeds,
        arguments.steps,
        arguments.random,
        trust=arguments.trust,
    )
    console = Console(width=None if sys.stdout.isatty() else 140)
    console.print(_table(trial, arguments.run))
    console.print(str(trial), markup=False, soft_wrap=True, highlight=False)


def _table(trial: Trial, run: Path) -> Table:
    untreated = _percent(trial.untreated.accuracies)
    title = f"{run}: {trial.verdict}; in {trial.steps} steps untreated: "
    title += _counts(trial.untreated.verdicts)
    table = Table(title=escape(title), title_justify="left", header_style="bold")
    table.add_column("tried")
    table.add_column("why")
    table.add_column("n", justify="right")
    table.add_column("verdicts")
    table.add_column("train accuracy, %,\ntreated", justify="right")
    table.add_column("untreated", justify="right")
    table.add_column("cured")
    for arm in trial.treated:
        was_run = arm.not_run is None
        table.add_row(
            escape(arm.override),
            arm.origin,
            str(len(arm.verdicts)),
            _counts(arm.verdicts) if was_run else f"not run: {escape(str(arm.not_run))}",
            _percent(arm.accuracies),
            untreated,
            ("yes" if arm.cured else "no") if was_run else "-",
        )
    return table


def _counts(verdicts: Sequence[str]) -> str:
    return ", ".join(f"{n} {verdict}" for verdict, n in Counter(verdicts).most_common())


def _percent(accuracies: Sequence[float]) -> str:
    known = [100 * accuracy for accuracy in accuracies if math.isfinite(accuracy)]
    if not known:
        return "-"
    mean = f"{statistics.mean(known):.1f}"
    return mean if len(known) == 1 else f"{mean} ± {statistics.stdev(known):.1f}"


if __name__ == "__main__":
    cli.run(main)
