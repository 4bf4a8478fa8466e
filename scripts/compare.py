"""Compare runs side by side: in the terminal, on an HTML page and in figures.

python scripts/compare.py multirun/demo --page demo.html             an interactive page
python scripts/compare.py multirun/a outputs/b --where activation=relu seed=0,1 --sort seconds
python scripts/compare.py multirun/demo --baseline remedy=none       differences, seed by seed
python scripts/compare.py multirun/demo --format markdown            or csv or json
python scripts/compare.py multirun/demo --figures figures            PNG and SVG for a paper
python scripts/compare.py multirun/demo --watch                      follow a running study
python scripts/compare.py wandb:me/gradflow/groups/demo              a study on Weights & Biases
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from gradflow.launch import cli

if TYPE_CHECKING:
    from gradflow.comparison.configurations import Configuration

CONF = Path(__file__).parents[1] / "conf"
FETCHED = Path("wandb_runs")
_EXPORT_FORMATS = ("markdown", "csv", "json")  # standard output has only the table


def main() -> None:
    """Print one table over all runs, and write the page and the figures on request."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "runs",
        nargs="+",
        metavar="RUNS",
        help="folders of runs or studies; on W&B wandb:ENTITY/PROJECT, …/RUN, …/groups/STUDY, "
        "or a browser address; downloads are kept in wandb_runs/",
    )
    parser.add_argument(
        "--where",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="select runs by any key of a configuration, or by verdict, state, study",
    )
    parser.add_argument(
        "--sort", metavar="COLUMN", help="sort the rows by this column (default: oldest first)"
    )
    parser.add_argument("--descending", action="store_true", help="sort in descending order")
    parser.add_argument(
        "--baseline",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="compare each run with the one of the same seed that has these settings",
    )
    parser.add_argument("--format", choices=("table", *_EXPORT_FORMATS), default="table")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write an HTML page to this file")
    parser.add_argument(
        "--figures",
        type=Path,
        metavar="FOLDER",
        help="write figures to this folder, as PNG and SVG",
    )
    parser.add_argument(
        "--watch", action="store_true", help="print the table whenever it changes, until Ctrl-C"
    )
    arguments = parser.parse_args()

    from gradflow.comparison.answer import answers
    from gradflow.comparison.choose import against, sort, where
    from gradflow.comparison.configurations import configurations
    from gradflow.comparison.export import FORMATS
    from gradflow.comparison.table import print_table
    from gradflow.errors import ConfigError
    from gradflow.runs.read import read_runs

    page: Path | None = arguments.page
    if page is not None and page.suffix != ".html":
        raise ConfigError(f"--page {page}: must end in .html")
    if arguments.descending and not arguments.sort:
        raise ConfigError("--descending: needs --sort COLUMN")
    folders = [folder for name in arguments.runs for folder in _folders(name)]

    def read() -> tuple[list[str], list[Configuration]]:
        runs = read_runs(folders)
        if not runs and not arguments.watch:
            raise ConfigError(f"{', '.join(arguments.runs)}: contains no run (no status.json)")
        keys, rows = configurations(against(where(runs, arguments.where), arguments.baseline))
        if arguments.sort:
            rows = sort(keys, rows, arguments.sort, descending=arguments.descending)
        return keys, rows

    if arguments.watch:
        if page or arguments.figures or arguments.format != "table":
            raise ConfigError(
                "--watch: prints the table alone; leave out --page, --figures, --format"
            )
        from gradflow.comparison.watch import watch

        watch(read, ", ".join(arguments.runs))
        return
    keys, rows = read()
    # Write files before printing the table, so that an error is the only output.
    messages = []
    if page is not None or arguments.figures is not None:
        from gradflow.comparison.own_figures import load_figures
        from gradflow.launch.compose import compose

        comparison = compose(config_dir=CONF).comparison
        own = load_figures(comparison.figures)
    if page is not None:
        from gradflow.comparison.page import build_page
        from gradflow.comparison.page.overlays import load_overlays

        table_runs = [run for row in rows for run in row.runs]
        overlays = load_overlays(comparison.overlays)
        title = ", ".join(arguments.runs)
        build_page(table_runs, page, title=title, overlays=overlays, figures=own)
        messages.append(f"page: {page}")
    if arguments.figures is not None:
        from gradflow.comparison.figures import write_figures

        written, left_out = write_figures(keys, rows, arguments.figures, own)
        messages += [f"figure: {path}" for path in written]
        messages += [f"no figure {reason}" for reason in left_out]
    if arguments.format in _EXPORT_FORMATS:
        sys.stdout.write(FORMATS[arguments.format](keys, rows))
    else:
        print_table(keys, rows, title=", ".join(arguments.runs))
        print("".join(f"{sentence}\n" for sentence in answers(keys, rows)), end="")
    for line in messages:
        print(line, file=sys.stderr)


def _folders(name: str) -> list[Path]:
    """Return the folders of the runs that `name` means; runs on W&B are downloaded first."""
    if Path(name).is_dir():
        return [Path(name)]
    # Imported here, since only runs on W&B need these seconds of imports.
    from gradflow.comparison.fetch import fetch_runs, is_address
    from gradflow.errors import ConfigError

    if is_address(name):
        return fetch_runs(name, FETCHED)
    raise ConfigError(f"{name}: is not the folder of a run or a study")


if __name__ == "__main__":
    cli.run(main)
