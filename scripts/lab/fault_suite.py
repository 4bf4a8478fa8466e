"""Measure how often the verdict is right, on runs whose state is known.

python scripts/lab/fault_suite.py designed   nets with one fault each: src/lab/faults/designed
python scripts/lab/fault_suite.py drawn      nets drawn at random: src/lab/faults/drawn

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
    parser.add_argument("suite", choices=("designed", "drawn"))
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
        help="drawn: begin no training after this time, and judge what is there",
    )
    parser.add_argument(
        "--counterfactuals",
        action="store_true",
        help="drawn: train only the counterfactuals of sick runs that are finished",
    )
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.records or Path(scratch)
        if arguments.suite == "designed":
            _designed(arguments, folder)
        else:
            _drawn(arguments, folder)


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
    print_tables(read_rows(run.RESULTS))


if __name__ == "__main__":
    cli.run(main)
