"""Measure how often the verdict is right, on runs with a known fault.

python scripts/lab/fault_suite.py         print the tables of src/lab/faults/results.csv
python scripts/lab/fault_suite.py --run   train all runs again first
"""

import argparse
import csv
import tempfile
from pathlib import Path

from gradflow.launch import cli
from lab.faults.table import print_tables


def main() -> None:
    """Print the tables; with `--run`, train the suite first."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", action="store_true", help="train all runs again")
    parser.add_argument("--processes", type=int, default=2, help="parallel runs, one thread each")
    parser.add_argument(
        "--records",
        type=Path,
        help="keep the runs in this folder; runs finished there are only diagnosed again",
    )
    arguments = parser.parse_args()

    from lab.faults.run import RESULTS, run_all

    if arguments.run:
        with tempfile.TemporaryDirectory() as scratch:
            run_all(arguments.processes, arguments.records or Path(scratch))
    with RESULTS.open(newline="") as file:
        print_tables(list(csv.DictReader(file)))


if __name__ == "__main__":
    cli.run(main)
