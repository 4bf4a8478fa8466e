"""Write all figures of a set of runs into one folder, each as PNG and as SVG."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from matplotlib.figure import Figure

from gradflow.comparison.configurations import Configuration
from gradflow.comparison.figures.curves import draw_curves
from gradflow.comparison.figures.flows import draw_flows
from gradflow.comparison.figures.histograms import draw_across, draw_layers
from gradflow.comparison.figures.profiles import draw_profiles
from gradflow.comparison.own_figures import OwnFigure
from gradflow.errors import ConfigError

_DPI = 200  # of the PNG


def write_figures(
    keys: Sequence[str],
    rows: Sequence[Configuration],
    folder: Path,
    own: Sequence[OwnFigure] = (),
) -> tuple[list[Path], list[str]]:
    """Draw each figure for which the rows have data; return the files, and why others are missing.

    Raises:
        ConfigError: if the folder cannot be written.
    """
    runs = [run for row in rows for run in row.runs]
    drawings: dict[str, Callable[[], Figure]] = {
        "profiles": partial(draw_profiles, keys, rows),
        "flows": partial(draw_flows, keys, rows),
        "curves": partial(draw_curves, keys, rows),
        "histograms_by_layer": partial(draw_layers, keys, rows),
        "histograms_by_run": partial(draw_across, keys, rows),
        **{figure.name: partial(figure.draw, runs) for figure in own},
    }
    written, left_out = [], []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, draw in drawings.items():
            try:
                figure = draw()
            except ValueError as error:
                left_out.append(f"{name}: {error}")
                continue
            except Exception as error:  # of a project's own figure
                left_out.append(f"{name}: {type(error).__name__}: {error}".splitlines()[0])
                continue
            for ending in ("png", "svg"):
                path = folder / f"{name}.{ending}"
                figure.savefig(path, dpi=_DPI)
                written.append(path)
    except OSError as error:
        raise ConfigError(f"--figures {folder}: {error.strerror}") from error
    return written, left_out
