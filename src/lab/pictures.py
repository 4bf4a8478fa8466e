"""Every picture of README and docs, with the commands that make it.

The commands stand on the page that shows the picture, too. A picture of the gallery is made by the
commands of its own page.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradflow.errors import ConfigError

WIDEST = 1400  # pixels of a picture in docs/
_PYTHON = "python "

DEMO = ("python scripts/train.py study=demo",)


@dataclass(frozen=True)
class Picture:
    """A picture: its path below docs/, the commands that make it, and the file they leave.

    `shoot` makes the file from the study's page in a browser instead, if it is given.
    """

    name: str
    commands: tuple[str, ...]
    made: str
    shoot: Callable[[Path, Path], None] | None = None


def pictures(repository: Path) -> list[Picture]:
    """Return all pictures of the repository's documents."""
    return [*_of_documents(), *_of_gallery(repository / "docs/gallery")]


def _of_documents() -> Iterator[Picture]:
    yield Picture("page.png", DEMO, "multirun/demo/compare.html", _shoot)
    yield Picture("overlay.png", DEMO, "multirun/demo/compare.html", _shoot_overlay)
    figures = (*DEMO, _compare("demo"))
    yield Picture("gradient_flow.png", figures, "figures/demo/flows.png")
    yield Picture("histograms.png", figures, "figures/demo/histograms_by_layer.png")
    for study, name, figure in (
        ("matrix", "matrix", "matrix"),
        ("matrix", "order", "order"),
        ("matrix", "predictors", "predictors"),
        ("modern", "modern", "matrix"),
        ("depth", "depth", "depth"),
    ):
        commands = (f"python scripts/train.py study={study}", _compare(study))
        yield Picture(f"{name}.png", commands, f"figures/{study}/{figure}.png")
    probe = "python scripts/lab/probe.py pathology=vanishing"
    yield Picture("probe.png", (probe,), "outputs/probe.png")
    diagram = "python scripts/lab/phase_diagram.py activation=tanh"
    yield Picture("phase_diagram.png", (diagram,), "outputs/phase_diagram.png")
    suite = "python scripts/lab/fault_suite.py foreign --diagram outputs/reliability.png"
    yield Picture("reliability.png", (suite,), "outputs/reliability.png")


def _of_gallery(folder: Path) -> Iterator[Picture]:
    for page in sorted(folder.glob("*/*.md")):
        text = page.read_text(encoding="utf-8").replace("\\\n", "")
        commands = tuple(re.findall(r"^python .+$", text, re.M))
        name = f"gallery/{page.parent.name}/{page.stem}.png"
        yield Picture(name, commands, f"figures/{page.stem}/before_after.png")


def _compare(study: str) -> str:
    return f"python scripts/compare.py multirun/{study} --figures figures/{study}"


def chosen(every: Sequence[Picture], names: Sequence[str]) -> list[Picture]:
    """Return the pictures that `names` lists; all of them if `names` is empty.

    Raises:
        ConfigError: if a name is not a picture's.
    """
    known = {picture.name: picture for picture in every}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ConfigError(f"{unknown[0]}: no picture has this name; --list shows the names")
    return [known[name] for name in names] if names else list(every)


def make(some: Sequence[Picture], repository: Path, docs: Path) -> Iterator[Path]:
    """Run the commands of each picture in the repository, each command once; yield what is made.

    Raises:
        ConfigError: if a command fails or leaves no file, there is no browser for a picture that
            needs one, or `docs` cannot be written.
    """
    if any(picture.shoot for picture in some):
        _browser()
    try:
        docs.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{docs}: {error.strerror}") from error
    for picture in some:
        if picture.commands and picture.shoot is None:
            (repository / picture.made).unlink(missing_ok=True)  # an older one is no result
    done: set[str] = set()
    for picture in some:
        for command in picture.commands:
            if command not in done:
                _run(command, repository)
                done.add(command)
        source, target = repository / picture.made, docs / picture.name
        if not source.is_file():
            raise ConfigError(f"{picture.name}: its commands made no {picture.made}")
        target.parent.mkdir(parents=True, exist_ok=True)
        if picture.shoot is not None:
            picture.shoot(source, target)
        else:
            shutil.copyfile(source, target)
        _shrink(target)
        yield target


def _run(command: str, repository: Path) -> None:
    print(f"$ {command}", flush=True)
    words = [sys.executable, *shlex.split(command.removeprefix(_PYTHON))]
    ended = subprocess.run(words, cwd=repository, check=False)
    if ended.returncode:
        raise ConfigError(f"`{command}` ended with status {ended.returncode}")


def _shrink(path: Path) -> None:
    """Limit width and colours: a repository is cloned with all its pictures."""
    from PIL import Image

    with Image.open(path) as opened:
        image = opened.convert("RGB")
    image.thumbnail((WIDEST, 10 * WIDEST), Image.Resampling.LANCZOS)
    image.quantize(256, kmeans=1, dither=Image.Dither.NONE).save(path, optimize=True)


def _browser() -> tuple[Any, str]:
    """Return playwright's entry and the path of Chromium."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        raise ConfigError(
            "page.png, overlay.png: need playwright: pip install playwright"
        ) from error
    chromium = shutil.which("chromium")
    if chromium is None:
        raise ConfigError("page.png, overlay.png: need Chromium (Debian: apt install chromium)")
    return sync_playwright, chromium


def _shoot_overlay(page: Path, target: Path) -> None:
    _shoot(page, target, "#ridges-runs")


def _shoot(page: Path, target: Path, panel: str | None = None) -> None:
    """Take a picture of a comparison page, or of the overlaid histograms in one of its panels."""
    sync_playwright, browser = _browser()
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        opened = chromium.new_page(
            viewport={"width": 1400, "height": 1180}, device_scale_factor=1 if panel is None else 2
        )
        opened.goto(page.resolve().as_uri())
        opened.wait_for_selector("html[data-ready]")
        if panel is None:
            opened.screenshot(path=target)
        else:
            shown = opened.locator(panel)
            shown.get_by_label("overlaid").check()
            shown.screenshot(path=target)
        chromium.close()
