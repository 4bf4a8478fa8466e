"""Write all figures of a set of runs into one folder, each as PNG and as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from gradflow.comparison.configurations import Configuration
from gradflow.comparison.figures.curves import draw_curves
from gradflow.comparison.figures.flows import draw_flows
from gradflow.comparison.figures.histograms import draw_across, draw_layers
from gradflow.comparison.figures.profiles import draw_profiles
from gradflow.errors import ConfigError

_DPI = 200  # of the PNG


def write_figures(
    keys: Sequence[str], rows: Sequence[Configuration], folder: Path
) -> tuple[list[Path], list[str]]:
    """Draw each figure for which the rows have data; return the files, and why others are missing.

    Raises:
        ConfigError: if the folder cannot be written.
    """
    drawings = {
        "profiles": draw_profiles,
        "flows": draw_flows,
        "curves": draw_curves,
        "histograms_by_layer": draw_layers,
        "histograms_by_run": draw_across,
    }
    written, left_out = [], []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, draw in drawings.items():
            try:
                figure: Figure = draw(keys, rows)
            except ValueError as error:
                left_out.append(f"{name}: {error}")
                continue
            for ending in ("png", "svg"):
                path = folder / f"{name}.{ending}"
                figure.savefig(path, dpi=_DPI)
                written.append(path)
    except OSError as error:
        raise ConfigError(f"--figures {folder}: {error.strerror}") from error
    return written, left_out
