"""Build one HTML file from runs: put the packed data, the style and the scripts into the template.

This file finds the pieces and keeps browsers from seeing markup in what users wrote. `pack.py`
prepares the data; the scripts in `assets` draw it.
"""

from __future__ import annotations

import base64
import html
import io
import logging
import re
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path

from gradflow.comparison.answer import answers
from gradflow.comparison.configurations import configurations
from gradflow.comparison.own_figures import OwnFigure
from gradflow.comparison.page.overlays import Overlay
from gradflow.comparison.page.pack import pack
from gradflow.errors import ConfigError
from gradflow.gradients.atomic import write_text
from gradflow.runs.read import Run

# In the order in which they build on each other; they share one scope.
SCRIPTS = (
    "unpack.js",
    "study.js",
    "store.js",
    "elements.js",
    "format.js",
    "styles.js",
    "tooltip.js",
    "axes.js",
    "line_plot.js",
    "run_table.js",
    "curves.js",
    "profiles.js",
    "heat_maps.js",
    "ridgelines.js",
    "setting_axis.js",
    "objective_plot.js",
    "objective.js",
    "verdicts.js",
    "settings.js",
    "controls.js",
    "keyboard.js",
    "main.js",
)


log = logging.getLogger(__name__)
_DPI = 110  # of a figure, which the page shows as wide as it is itself


def build_page(
    runs: Sequence[Run],
    path: Path,
    title: str,
    *,
    overlays: Sequence[Overlay] = (),
    figures: Sequence[OwnFigure] = (),
) -> Path:
    """Write the page over `runs` to `path`, whole or not at all, and return `path`.

    `overlays` draw lines over its profiles at step 0; `figures` stand above all plots.

    Raises:
        ConfigError: if there are no runs, or `path` cannot be written or is no .html.
    """
    if path.suffix != ".html":
        raise ConfigError(f"{path}: must end in .html")
    if not runs:
        raise ConfigError(f"{path}: no run to show")
    if not path.parent.is_dir():  # checked before the work, not after it
        raise ConfigError(f"{path}: {path.parent} is not a folder")
    shown = answers(*configurations(runs))
    data = pack(runs, beside=path.parent, title=title, overlays=overlays)
    try:
        sections = "\n".join([*_said(shown), *_sections(runs, figures)])
        write_text(path, _assemble(title, data, sections))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    return path


def _said(sentences: Sequence[str]) -> Iterator[str]:
    """Yield the HTML of what the study shows in words."""
    if sentences:
        lines = "".join(f"<li>{html.escape(sentence)}</li>" for sentence in sentences)
        yield (
            '<section class="panel wide own" aria-label="What the study shows">'
            f"<h2>What the study shows</h2><ul>{lines}</ul></section>"
        )


def _sections(runs: Sequence[Run], figures: Sequence[OwnFigure]) -> Iterator[str]:
    """Yield the HTML of each figure that has something to show; no browser runs code in a PNG."""
    for own in figures:
        try:
            figure = own.draw(runs)
        except ValueError:
            continue
        except Exception as error:  # the page does without it
            log.warning("figure %s: %s: %s", own.name, type(error).__name__, error)
            continue
        png = io.BytesIO()
        figure.savefig(png, format="png", dpi=_DPI)
        picture = base64.b64encode(png.getvalue()).decode("ascii")
        name, note = html.escape(own.name.replace("_", " ")), html.escape(own.note)
        yield (
            f'<section class="panel wide own" aria-label="{name}"><h2>{name}</h2>'
            f'<img alt="{note}" src="data:image/png;base64,{picture}"><p class="note">{note}</p>'
            "</section>"
        )


def _assemble(title: str, data: bytes, figures: str) -> str:
    """Fill the template. Base64 has no character that HTML would interpret."""
    pieces = {
        "title": html.escape(title),
        "style": _asset("style.css"),
        "script": "\n".join(map(_asset, SCRIPTS)),
        "figures": figures,
        "data": base64.b64encode(data).decode("ascii"),
    }
    # In one pass, so that a title that looks like a slot is not filled, too.
    return re.sub(r"\{\{(\w+)\}\}", lambda slot: pieces[slot[1]], _asset("template.html"))


def _asset(name: str) -> str:
    return (files(__package__) / "assets" / name).read_text(encoding="utf-8")
