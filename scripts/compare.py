"""Compare runs side by side, in the terminal, on a page and in figures.

python scripts/compare.py multirun/demo --page demo.html             the page that shows it all
python scripts/compare.py multirun/a outputs/b --where activation=relu seed=0,1 --sort seconds
python scripts/compare.py multirun/demo --format markdown            or csv, or json
python scripts/compare.py multirun/demo --figures figures            PNG and SVG for a paper
python scripts/compare.py wandb:me/gradflow/groups/demo              a study on Weights & Biases
"""

import argparse
import sys
from pathlib import Path

from gradflow.launch import cli

CONF = Path(__file__).parents[1] / "conf"
FETCHED = Path("wandb_runs")
_SILENT = ("markdown", "csv", "json")  # nothing but the table itself goes to standard output


def main() -> None:
    """Print one table over all the runs, and write what was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "runs",
        nargs="+",
        metavar="RUNS",
        help="folders of runs or studies; on W&B wandb:ENTITY/PROJECT, …/RUN, …/groups/STUDY, "
        "or its address in a browser, which are kept in wandb_runs/",
    )
    parser.add_argument(
        "--where",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="only these runs: any key of a configuration, or verdict, state, study",
    )
    parser.add_argument(
        "--sort", metavar="COLUMN", help="order of the rows; or else the oldest first"
    )
    parser.add_argument("--descending", action="store_true", help="the largest first")
    parser.add_argument("--format", choices=("table", *_SILENT), default="table")
    parser.add_argument("--page", type=Path, metavar="FILE", help="where the page goes: .html")
    parser.add_argument("--figures", type=Path, metavar="FOLDER", help="draw PNG and SVG into it")
    arguments = parser.parse_args()

    from gradflow.comparison.choose import sort, where
    from gradflow.comparison.configurations import configurations
    from gradflow.comparison.export import FORMATS
    from gradflow.comparison.table import print_table
    from gradflow.errors import ConfigError
    from gradflow.runs.read import read_runs

    page: Path | None = arguments.page
    if page is not None and page.suffix != ".html":
        raise ConfigError(f"--page {page}: must end in .html")
    folders = [folder for name in arguments.runs for folder in _folders(name)]
    runs = read_runs(folders)
    if not runs:
        raise ConfigError(f"{', '.join(arguments.runs)}: no run in there (no status.json)")
    keys, rows = configurations(where(runs, arguments.where))
    if arguments.sort:
        rows = sort(keys, rows, arguments.sort, descending=arguments.descending)
    elif arguments.descending:
        raise ConfigError("--descending: goes with --sort COLUMN")
    # Before anything is printed: what cannot be written is refused alone.
    said = []
    if page is not None:
        from gradflow.comparison.page import build_page
        from gradflow.comparison.page.overlays import load_overlays
        from gradflow.launch.compose import compose

        shown = [run for row in rows for run in row.runs]
        overlays = load_overlays(compose(config_dir=CONF).comparison.overlays)
        build_page(shown, page, title=", ".join(arguments.runs), overlays=overlays)
        said.append(f"page: {page}")
    if arguments.figures is not None:
        from gradflow.comparison.figures import write_figures

        written, left_out = write_figures(keys, rows, arguments.figures)
        said += [f"figure: {path}" for path in written]
        said += [f"no figure {reason}" for reason in left_out]
    if arguments.format in _SILENT:
        sys.stdout.write(FORMATS[arguments.format](keys, rows))
    else:
        print_table(keys, rows, title=", ".join(arguments.runs))
    for line in said:
        print(line, file=sys.stderr)


def _folders(name: str) -> list[Path]:
    """Return where the runs are that `name` means, after fetching them if they are on W&B."""
    if Path(name).is_dir():
        return [Path(name)]
    # Seconds of imports that only runs on W&B should pay.
    from gradflow.comparison.fetch import fetch_runs, is_address
    from gradflow.errors import ConfigError

    if is_address(name):
        return fetch_runs(name, FETCHED)
    raise ConfigError(f"{name}: is no folder of a run or a study")


if __name__ == "__main__":
    cli.run(main)
