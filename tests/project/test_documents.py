"""The documents hold: commands are composed, parsed or looked up, and links lead somewhere.

Commands stand in fenced blocks without a language or with one of a shell, and in code spans. In a
block with a line that begins with `$ `, only such lines are commands. No command is run.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib.util
import re
import runpy
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import pytest
import yaml
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser

from gradflow.errors import ConfigError
from gradflow.launch.compose import compose
from gradflow.training.project import load_project

REPOSITORY = Path(__file__).resolve().parents[2]
CONF = REPOSITORY / "conf"
PACKAGE = next(p for p in (REPOSITORY / "src").iterdir() if (p / "config.py").exists())
READ = sorted([*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/**/*.md")])
PAGES = [*READ, *sorted(REPOSITORY.glob(".github/**/*.md"))]

# A bare fork has none of these, and its documents may still speak of them.
LAB = (
    *(REPOSITORY / top / "lab" for top in ("src", "tests", "scripts", "conf")),
    REPOSITORY / "docs/gallery",
)
HAS_LAB = (LAB[0] / "__init__.py").is_file()
LAB_AXES = ("pathology", "remedy", "case")

SHELLS = ("", "bash", "sh", "console")
PLACEHOLDERS = {
    "<run>": "run",
    "<runs>": "multirun/study",
    "<study>": "study",
    "<this repository>": "upstream",
    "<the template's repository>": "upstream",
    "<your fork>": "fork",
}
LAUNCHERS = {"joblib": "joblib", "submitit_slurm": "submitit", "ray": "ray"}  # and their extras


@dataclass(frozen=True)
class Command:
    """One command of a page; `below` is the error that the page shows under it."""

    page: Path
    line: int
    text: str
    below: str = ""

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"

    @property
    def words(self) -> list[str]:
        """The words as a shell splits them, without comments and words with an ellipsis."""
        text = re.sub(r"<[^<>]+>", self._example, self.text)
        return [word for word in shlex.split(text, comments=True) if "…" not in word]

    def _example(self, placeholder: re.Match[str]) -> str:
        assert placeholder[0] in PLACEHOLDERS, f"{self}: {placeholder[0]} is no known placeholder"
        return PLACEHOLDERS[placeholder[0]]


def split(page: Path) -> tuple[list[tuple[int, str, list[str]]], str]:
    """Return a page's fenced blocks, each with its first line's number and language, and the rest.

    In the rest the blocks' lines are empty, so that lines keep their numbers.
    """
    blocks: list[tuple[int, str, list[str]]] = []
    rest: list[str] = []
    inside = False
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        if line.lstrip().startswith("```"):
            if not inside:
                blocks.append((number + 1, line.strip().removeprefix("```"), []))
            inside = not inside
        elif inside:
            blocks[-1][2].append(line)
        rest.append("" if inside or line.lstrip().startswith("```") else line)
    assert not inside, f"{page.name}: a block is not closed"
    return blocks, "\n".join(rest)


def commands(page: Path) -> Iterator[Command]:
    """Yield the commands of a page."""
    blocks, rest = split(page)
    for first, language, lines in blocks:
        if language not in SHELLS:
            continue
        prompted = any(line.startswith("$ ") for line in lines)
        for i, line in enumerate(continued(lines)):
            if (prompted and not line.startswith("$ ")) or re.fullmatch(r"\s*(#.*)?", line):
                continue
            below = "".join(
                next_line for next_line in lines[i + 1 : i + 2] if "error: " in next_line
            )
            for part in line.removeprefix("$ ").split(" && "):
                yield Command(page, first + i, part.strip(), below)
    for span in re.finditer(r"`([^`]+)`", rest):
        text = " ".join(span[1].split())
        if re.match(rf"(?:{'|'.join(KINDS)}) ", text):
            yield Command(page, rest.count("\n", 0, span.start()) + 1, text)


def continued(lines: Sequence[str]) -> list[str]:
    """Join each line that ends with a backslash and those below it; the latter become empty."""
    joined = list(lines)
    for i in reversed(range(len(joined) - 1)):
        if joined[i].endswith("\\"):
            joined[i : i + 2] = [f"{joined[i][:-1]} {joined[i + 1].strip()}", ""]
    return joined


def is_of_the_lab(words: Sequence[str]) -> bool:
    """Say whether only the laboratory has the script or a choice that the words name."""
    words = [part for word in words for part in word.split()]  # a command in quotes, too
    pairs = [word.partition("=") for word in words]
    return any(
        word.startswith("scripts/lab/")
        or key in LAB_AXES
        or (key == "study" and not (CONF / "study" / f"{value}.yaml").is_file())
        for word, (key, _, value) in zip(words, pairs, strict=True)
    )


def python(command: Command, scratch: Path) -> None:
    """Compose what scripts/train.py is given; let any other script's own parser read its line."""
    _, script, *words = command.words
    assert (REPOSITORY / script).is_file(), f"{command}: no {script}"
    if script == "scripts/train.py":
        train(words, command, scratch)
        return
    arguments = parsed(REPOSITORY / script, words)
    if hasattr(arguments, "overrides"):
        composed(tuple(arguments.overrides))


def parsed(script: Path, words: list[str]) -> argparse.Namespace:
    """Return what a script's parser makes of the words; nothing after the parser is run."""

    class ParsedError(Exception):
        pass

    read = argparse.ArgumentParser.parse_args

    def stop(self: argparse.ArgumentParser, args: Any = None, namespace: Any = None) -> NoReturn:
        raise ParsedError(read(self, args, namespace))

    main = runpy.run_path(str(script))["main"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, "parse_args", stop)
        patch.setattr(sys, "argv", [str(script), *words])
        with pytest.raises(ParsedError) as done:
            main()
    arguments = done.value.args[0]
    assert isinstance(arguments, argparse.Namespace)
    return arguments


def train(words: list[str], command: Command, scratch: Path) -> None:
    """Compose the words; of a multirun so many jobs that each value of each override is in one."""
    if words == ["--help"]:
        return
    multirun = "-m" in words or any(map(is_a_multirun, words))
    folders = [page_choices(command.page, scratch)]
    if "--config-dir" in words:
        at = words.index("--config-dir")
        folders.append(REPOSITORY / words[at + 1])
        assert folders[-1].is_dir(), f"{command}: no folder {words[at + 1]}"
        del words[at : at + 2]
    if "--cfg" in words:
        at = words.index("--cfg")
        assert words[at + 1] == "job", f"{command}: --cfg {words[at + 1]}"
        del words[at : at + 2]
    words = installed([word for word in words if word != "-m"])
    if places := ",".join(f"file://{folder}" for folder in folders if any(folder.iterdir())):
        words.append(f"hydra.searchpath=[{places}]")
    if command.below:
        with pytest.raises(ConfigError) as refused:
            begin(words, scratch / "run")
        # Whoever edits a file need not mend the number of its line in the documents.
        raised, documented = (
            re.sub(r"\.py:\d+:", ".py:", text)
            for text in (f"error: {refused.value}", command.below)
        )
        assert raised == documented
        return
    seen: set[str] = set()
    for job in jobs(words) if multirun else [words]:
        if not seen.issuperset(job):
            composed(tuple(job))
            seen.update(job)


def is_a_multirun(word: str) -> bool:
    """Say whether a word names a study whose own file makes it a multirun."""
    group, _, name = word.partition("=")
    files = [top / "study" / f"{name}.yaml" for top in (CONF, CONF / "lab")]
    texts = [path.read_text() for path in files if group == "study" and path.is_file()]
    return any("mode: MULTIRUN" in text for text in texts)


def begin(words: list[str], folder: Path) -> None:
    """Run what is refused before training; a step at most, where it is not."""
    config = compose([*words, "steps=1"], CONF)
    load_project(config.project).train(config, folder, "run")


@functools.cache
def composed(words: tuple[str, ...]) -> Any:
    return compose(words, CONF)


def jobs(words: list[str]) -> list[list[str]]:
    """Return the overrides of each job, as Hydra's own sweeper expands them.

    An interval, which only a search takes, is its lower end.
    """
    parser = OverridesParser.create()
    overrides = [
        parser.parse_override(f"{one.get_key_element()}={one.value().start}")
        if one.is_interval_sweep()
        else one
        for one in parser.parse_overrides(words)
    ]
    (batch,) = BasicSweeper.split_arguments(overrides, max_batch_size=None)
    return [list(job) for job in batch]


def installed(words: list[str]) -> list[str]:
    """Leave a launcher's words out if it is not installed; the project must have it as an extra."""
    chosen = [word.partition("=")[2] for word in words if word.startswith("hydra/launcher=")]
    for launcher in chosen:
        extra = LAUNCHERS[launcher]
        assert extra in extras()
        if importlib.util.find_spec(f"hydra_plugins.hydra_{extra}_launcher") is None:
            return [word for word in words if not word.startswith(("hydra/", "hydra.launcher."))]
    return words


def page_choices(page: Path, scratch: Path) -> Path:
    """Write the choices that a page shows as YAML, and conf/ does not have, where Hydra finds them.

    The file's path is in the block's first line, or in the text right above the block.
    """
    lines = page.read_text(encoding="utf-8").splitlines()
    for first, language, block in split(page)[0]:
        named = re.search(
            r"\bconf/(\w+/\w+\.yaml)",
            "\n".join([*lines[max(first - 4, 0) : first - 2], *block[:1]]),
        )
        if language == "yaml" and named and not (CONF / named[1]).exists():
            (scratch / named[1]).parent.mkdir(parents=True, exist_ok=True)
            (scratch / named[1]).write_text("\n".join(block) + "\n")
    return scratch


def make(command: Command, scratch: Path) -> None:
    """Look the targets up in the Makefile."""
    targets = re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(), re.M)
    unknown = [word for word in command.words[1:] if "=" not in word and word not in targets]
    assert not unknown, f"{command}: no such target"


@functools.cache
def git_usage(subcommand: str) -> str:
    done = subprocess.run(["git", subcommand, "-h"], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def git(command: Command, scratch: Path) -> None:
    """Look the options up in git's own usage; paths after -- must exist."""
    _, subcommand, *words = command.words
    usage = git_usage(subcommand)
    assert re.search(rf"git {subcommand}\b", usage), f"{command}: no git {subcommand}"
    if subcommand == "remote":
        assert f"git remote {words[0]}" in usage
    options, _, paths = (list(part) for part in partition(words, "--"))
    for option in [word for word in options if word.startswith("-")]:
        name = option.lstrip("-").removeprefix("no-")
        assert re.search(rf"-(\[no-\])?{name}\b", usage), f"{command}: no option {option}"
    assert not [path for path in paths if not (REPOSITORY / path).exists()], command


def partition(words: list[str], at: str) -> tuple[list[str], list[str], list[str]]:
    i = words.index(at) if at in words else len(words)
    return words[:i], words[i : i + 1], words[i + 1 :]


def wandb(command: Command, scratch: Path) -> None:
    """Let W&B's own command-line parser read the words; the paths among them are made first."""
    import click
    from wandb.cli.cli import cli

    words = command.words[1:]
    found: click.Command = cli
    while isinstance(found, click.Group) and words and words[0] in found.commands:
        found = found.commands[words.pop(0)]
    assert found is not cli, f"{command}: wandb has no such command"
    for word in [word for word in words if not word.startswith("-")]:
        (scratch / word).mkdir(parents=True)
    with contextlib.chdir(scratch):
        found.make_context(found.name, words)


@functools.cache
def extras() -> dict[str, list[str]]:
    text = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    found: dict[str, list[str]] = tomllib.loads(text)["project"]["optional-dependencies"]
    return found


def install(command: Command, scratch: Path) -> None:
    """Look extras up in pyproject.toml; a folder must be a project, and a name an extra's."""
    words = command.words[command.words.index("install") + 1 :]
    for word in [word for word in words if not word.startswith("-")]:
        path, _, chosen = word.removesuffix("]").partition("[")
        assert not chosen or chosen in extras(), f"{command}: no extra {chosen}"
        if path.startswith("."):
            assert (REPOSITORY / path / "pyproject.toml").is_file(), command
        else:
            known = [name for names in extras().values() for name in names]
            assert [name for name in known if re.match(rf"{path}\b", name)], command


def shell(command: Command, scratch: Path) -> None:
    """A path must lie in the repository; the environment's is made by `make setup`."""
    kind, word = command.words
    path = word.partition("=")[2] if kind == "export" else word
    assert kind == "cd" or path.startswith(".venv/") or (REPOSITORY / path).exists(), command


def launched(command: Command, scratch: Path) -> None:
    """Compose what scripts/train.py is given by another program; files must be there."""
    words = [word for text in command.words for word in shlex.split(text)]
    if "scripts/train.py" in words:
        at = words.index("scripts/train.py")
        words, overrides = words[:at], words[at + 1 :]
        train(overrides, command, scratch)
    missing = [word for word in words if "/" in word and not (REPOSITORY / word).exists()]
    assert not missing, f"{command}: no {missing}"


KINDS: dict[str, Callable[[Command, Path], None]] = {
    "python": python,
    "make": make,
    "git": git,
    "wandb": wandb,
    "uv": install,
    "pip": install,
    "export": shell,
    "source": shell,
    "cd": shell,
    "torchrun": launched,
    "srun": launched,
    "sbatch": launched,
    "apptainer": launched,
    "ray": launched,
}
ALL = {(found.text, found.below): found for page in PAGES for found in commands(page)}.values()


@pytest.mark.parametrize("command", ALL, ids=str)
def test_a_command_of_the_documents_is_accepted(command: Command, tmp_path: Path) -> None:
    kind = command.words[0]
    assert kind in KINDS, f"{command}: what checks `{command.text}`? Output is marked ```text"
    if not HAS_LAB and is_of_the_lab(command.words):
        pytest.skip("of the laboratory, which this fork has left behind")
    KINDS[kind](command, tmp_path)


@pytest.mark.skipif(PACKAGE.name != "project", reason="a fork's documents say what it likes")
def test_commands_of_each_kind_are_found() -> None:
    assert {command.words[0] for command in ALL} == set(KINDS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_yaml_of_a_page_is_yaml(page: Path) -> None:
    for first, language, lines in split(page)[0]:
        if language == "yaml":
            assert yaml.safe_load("\n".join(lines)), f"{page.name}:{first}"


def links(page: Path) -> list[str]:
    """Return the targets of a page's links and pictures, but for those on other hosts."""
    found = re.findall(r"\]\(([^)\s]+)\)", split(page)[1])
    return [target for target in found if not re.match(r"[a-z]+:", target)]


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives to a page's headings."""
    titles = re.findall(r"^#+ (.+)$", split(page)[1], re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    broken = []
    for target in links(page):
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        if not HAS_LAB and any(path.is_relative_to(folder) for folder in LAB):
            continue
        if not path.exists() or (anchor and anchor not in anchors(path)):
            broken.append(target)
    assert broken == []


@pytest.mark.skipif(PACKAGE.name != "project", reason="a fork writes a README of its own")
def test_every_page_is_reached_from_the_readme() -> None:
    reached: set[Path] = set()
    ahead = [REPOSITORY / "README.md"]
    while ahead:
        page = ahead.pop()
        reached.add(page)
        targets = [(page.parent / link.partition("#")[0]).resolve() for link in links(page)]
        ahead += [target for target in targets if target in READ and target not in reached]
    assert set(READ) - reached == set()


@pytest.mark.skipif(PACKAGE.name != "project", reason="a fork keeps what pictures it likes")
def test_every_picture_is_shown_on_a_page() -> None:
    shown = {(page.parent / target).resolve() for page in PAGES for target in links(page)}
    assert set(REPOSITORY.glob("docs/**/*.png")) - shown == set()
