"""Compare runs side by side: `python scripts/compare.py multirun/demo outputs/...`."""

import argparse
from pathlib import Path

from gradflow import cli

FIGURES = {
    "--profile": "every layer's gradient before the first step",
    "--flow": "every layer's gradient over the steps",
}


def main() -> None:
    """Print one table over all runs in the given folders."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path, help="folders of runs or of studies")
    for option, shown in FIGURES.items():
        parser.add_argument(option, type=Path, help=f"also draw {shown}: .png or .svg")
    arguments = parser.parse_args()

    from gradflow.comparison.figure import draw_flows, draw_profiles
    from gradflow.comparison.runs import read_runs
    from gradflow.comparison.table import print_table
    from gradflow.config import ConfigError

    wanted: dict[str, Path] = {
        option: path
        for option in FIGURES
        if (path := getattr(arguments, option.removeprefix("--"))) is not None
    }
    for option, path in wanted.items():
        if path.suffix not in (".png", ".svg"):
            raise ConfigError(f"{option}={path}: must end in .png or .svg")
    folders: list[Path] = arguments.folders
    for folder in folders:
        if not folder.is_dir():
            raise ConfigError(f"{folder}: is no folder of a run or a study")
    runs = read_runs(folders)
    if not runs:
        raise ConfigError(f"{', '.join(map(str, folders))}: no run in there (no status.json)")
    print_table(runs, title=", ".join(map(str, folders)))
    for option, path in wanted.items():
        draw = {"--profile": draw_profiles, "--flow": draw_flows}[option]
        try:
            draw(runs, path)
        except OSError as error:
            raise ConfigError(f"{option}={path}: {error.strerror}") from error
        except ValueError as error:
            raise ConfigError(f"{option}={path}: {error}") from error
        print(f"figure: {path}")


if __name__ == "__main__":
    cli.run(main)
