"""Compare runs side by side: `python scripts/compare.py multirun/demo outputs/...`."""

import argparse
from pathlib import Path

from gradflow import cli
from gradflow.comparison.figure import draw_profiles
from gradflow.comparison.runs import read_runs
from gradflow.comparison.table import print_table
from gradflow.config import ConfigError


def main() -> None:
    """Print one table over all runs in the given folders."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path, help="folders of runs or of studies")
    parser.add_argument("--figure", type=Path, help="also draw the layers' gradients: .png or .svg")
    arguments = parser.parse_args()
    folders: list[Path] = arguments.folders
    for folder in folders:
        if not folder.is_dir():
            raise ConfigError(f"{folder}: is no folder of a run or a study")
    runs = read_runs(folders)
    if not runs:
        raise ConfigError(f"{', '.join(map(str, folders))}: no run in there (no status.json)")
    print_table(runs, title=", ".join(map(str, folders)))
    if arguments.figure is not None:
        if arguments.figure.suffix not in (".png", ".svg"):
            raise ConfigError(f"--figure={arguments.figure}: must end in .png or .svg")
        try:
            draw_profiles(runs, arguments.figure)
        except ValueError as error:
            raise ConfigError(f"--figure={arguments.figure}: {error}") from error
        print(f"figure: {arguments.figure}")


if __name__ == "__main__":
    cli.run(main)
