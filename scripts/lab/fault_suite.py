"""Measure how often the verdict is right, on runs whose state is known.

python scripts/lab/fault_suite.py designed   nets with one fault each: src/lab/faults/designed
python scripts/lab/fault_suite.py drawn      nets drawn at random: src/lab/faults/drawn
python scripts/lab/fault_suite.py foreign    nets and losses of strangers: src/lab/faults/foreign

Each prints its tables. With --run it trains what is missing first; --records keeps the runs, so
that the next call goes on from there, and computes their verdicts anew.
"""

import argparse
import math
import tempfile
from pathlib import Path

from gradflow.launch import cli


def main() -> None:
    """Print a suite's tables; with `--run`, train it first."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("suite", choices=("designed", "drawn", "foreign"))
    parser.add_argument("--run", action="store_true", help="train the runs first")
    parser.add_argument("--processes", type=int, default=2, help="parallel runs, one thread each")
    parser.add_argument(
        "--records",
        type=Path,
        help="keep the runs in this folder; runs finished there are only diagnosed again",
    )
    parser.add_argument(
        "--minutes",
        type=float,
        default=math.inf,
        help="drawn, foreign: begin no training after this time, and judge what is there",
    )
    parser.add_argument(
        "--misses", action="store_true", help="drawn, foreign: list the runs with a wrong verdict"
    )
    parser.add_argument(
        "--counterfactuals",
        action="store_true",
        help="drawn: train only the counterfactuals of sick runs that are finished",
    )
    parser.add_argument(
        "--part",
        choices=("tuning", "held_out", "fresh"),
        help="foreign: train and judge this part alone; the other lines stay",
    )
    parser.add_argument(
        "--diagram", type=Path, help="drawn, foreign: draw the reliability of the confidence here"
    )
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.records or Path(scratch)
        suite = {"designed": _designed, "drawn": _drawn, "foreign": _foreign}[arguments.suite]
        suite(arguments, folder)
    if arguments.diagram is not None:
        from lab.faults.diagram import draw

        draw(arguments.diagram)


def _designed(arguments: argparse.Namespace, folder: Path) -> None:
    from lab.faults.designed import run
    from lab.faults.designed.table import print_tables
    from lab.faults.runs import read_rows

    if arguments.run:
        run.run_all(arguments.processes, folder)
    print_tables(read_rows(run.RESULTS))


def _drawn(arguments: argparse.Namespace, folder: Path) -> None:
    from lab.faults.drawn import run
    from lab.faults.drawn.table import print_tables
    from lab.faults.runs import read_rows

    if arguments.run:
        run.run_all(arguments.processes, folder, arguments.minutes, arguments.counterfactuals)
    print_tables(read_rows(run.RESULTS), arguments.misses)


def _foreign(arguments: argparse.Namespace, folder: Path) -> None:
    from lab.faults.foreign import run
    from lab.faults.foreign.table import print_tables
    from lab.faults.runs import read_rows

    if arguments.run:
        run.run_all(arguments.processes, folder, arguments.minutes, arguments.part)
    rows = read_rows(run.RESULTS)
    print_tables([row for row in rows if arguments.part in (None, row["part"])], arguments.misses)


if __name__ == "__main__":
    cli.run(main)
