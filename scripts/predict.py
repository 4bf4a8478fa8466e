"""Predict from files with the net of a run: `python scripts/predict.py outputs/<run> photo.jpg`."""

from __future__ import annotations

import argparse
import csv
import os
import sys
from pathlib import Path
from typing import Any

from gradflow.launch import cli


def main() -> None:
    """Print labels and probabilities, as a table or as CSV."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="the run's folder")
    parser.add_argument(
        "files", type=Path, nargs="+", metavar="FILE", help="an image, or a folder of images"
    )
    parser.add_argument("--csv", action="store_true", help="print CSV, with every column")
    parser.add_argument(
        "--checkpoint", choices=["last", "best"], default="last", help="whose weights are used"
    )
    parser.add_argument(
        "--trust", action="store_true", help="run code that a run of somebody else's names"
    )
    arguments = parser.parse_args()

    from gradflow.training.predict import predict
    from gradflow.training.process import quieten
    from project.train import PROJECT

    quieten()
    files = _files(arguments.files)
    table = predict(PROJECT, arguments.run, files, arguments.checkpoint, trust=arguments.trust)
    rows = list(zip(*table.values(), strict=True))
    if arguments.csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(table)
        writer.writerows(rows)
    else:
        _print(list(table), rows)


def _files(named: list[Path]) -> list[Path]:
    """Return the files, and in place of a folder the images in it and below, by name."""
    from torchvision.datasets.folder import IMG_EXTENSIONS

    from gradflow.errors import DataError

    files: list[Path] = []
    for path in named:
        if not path.is_dir():
            files.append(path)
            continue
        images = [file for file in path.rglob("*") if file.suffix.lower() in IMG_EXTENSIONS]
        if not images:
            raise DataError(f"{path}: holds no images ({', '.join(IMG_EXTENSIONS)})")
        files += sorted(images)
    return files


def _print(names: list[str], rows: list[tuple[Any, ...]]) -> None:
    """Print as many columns as have room, the first ones first."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    known = sys.stdout.isatty() or "COLUMNS" in os.environ
    console = Console(width=None if known else 140)
    table = Table(header_style="bold")
    cells = [[f"{x:.3f}" if isinstance(x, float) else str(x) for x in row] for row in rows]
    room = console.width - 1
    for index, name in enumerate(names):
        room -= max(len(name), *(len(row[index]) for row in cells)) + 3
        if room < 0 and index > 2:
            break
        is_text = isinstance(rows[0][index], str)
        table.add_column(escape(name), justify="left" if is_text else "right", overflow="fold")
    for row in cells:
        table.add_row(*map(escape, row[: len(table.columns)]))
    console.print(table)
    if len(table.columns) < len(names):
        console.print(f"{len(names) - len(table.columns)} more columns: --csv")


if __name__ == "__main__":
    cli.run(main)
