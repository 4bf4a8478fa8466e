"""Compare runs side by side: `python scripts/compare.py multirun/demo outputs/...`."""

import argparse
from pathlib import Path

from gradflow import cli
from gradflow.comparison.figure import draw_flows, draw_profiles
from gradflow.comparison.runs import read_runs
from gradflow.comparison.table import print_table
from gradflow.config import ConfigError

FIGURES = {
    "--profile": ("every layer's gradient before the first step", draw_profiles),
    "--flow": ("every layer's gradient over the steps", draw_flows),
}


def main() -> None:
    """Print one table over all runs in the given folders."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path, help="folders of runs or of studies")
    for option, (shown, _) in FIGURES.items():
        parser.add_argument(option, type=Path, help=f"also draw {shown}: .png or .svg")
    arguments = parser.parse_args()
    folders: list[Path] = arguments.folders
    for folder in folders:
        if not folder.is_dir():
            raise ConfigError(f"{folder}: is no folder of a run or a study")
    runs = read_runs(folders)
    if not runs:
        raise ConfigError(f"{', '.join(map(str, folders))}: no run in there (no status.json)")
    print_table(runs, title=", ".join(map(str, folders)))
    for option, (_, draw) in FIGURES.items():
        path: Path | None = getattr(arguments, option.removeprefix("--"))
        if path is None:
            continue
        if path.suffix not in (".png", ".svg"):
            raise ConfigError(f"{option}={path}: must end in .png or .svg")
        try:
            draw(runs, path)
        except OSError as error:
            raise ConfigError(f"{option}={path}: {error.strerror}") from error
        except ValueError as error:
            raise ConfigError(f"{option}={path}: {error}") from error
        print(f"figure: {path}")


if __name__ == "__main__":
    cli.run(main)
