"""Interrupt runs at random moments, and show that the continued ones are the uninterrupted ones.

python scripts/lab/kill_points.py --points 50 --distributed 6
"""

import argparse
import itertools
from pathlib import Path

from gradflow.launch import cli


def main() -> None:
    """Print a line for each point, and a table of them all; write a CSV file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--points", type=int, default=50, help="runs in one process (50)")
    parser.add_argument("--distributed", type=int, default=0, help="runs in two processes (0)")
    parser.add_argument("--seed", type=int, default=0, help="draws configurations and moments (0)")
    parser.add_argument(
        "--csv", type=Path, default=Path("outputs/kill_points.csv"), help="file to write"
    )
    arguments = parser.parse_args()

    from lab.kill_points import measure, table, write

    points = []
    for point in itertools.chain(
        measure(arguments.points, arguments.seed),
        measure(arguments.distributed, arguments.seed, processes=2),
    ):
        points.append(point)
        print(
            f"{len(points):3}  {point.signals:32} resumed from {point.resumed_from:9} "
            f"{point.differs or 'bit for bit'}",
            flush=True,
        )
        write(points, arguments.csv)
    print(table(points))
    print(f"points: {arguments.csv}")
    if any(point.differs for point in points):
        raise SystemExit(1)


if __name__ == "__main__":
    cli.run(main)
