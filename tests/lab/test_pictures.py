"""Every picture of the documents is made by commands on its page; the fast ones are made here."""

import re
from pathlib import Path

import pytest
import shipped
from PIL import Image

from gradflow.errors import ConfigError
from lab.pictures import WIDEST, Picture, chosen, make, pictures

REPOSITORY = Path(__file__).resolve().parents[2]
DOCS = REPOSITORY / "docs"
ALL = pictures(REPOSITORY)


def pages_showing(picture: Picture) -> list[str]:
    target = (DOCS / picture.name).resolve()
    found = []
    for page in [REPOSITORY / "README.md", *DOCS.rglob("*.md")]:
        text = page.read_text(encoding="utf-8").replace("\\\n", "")
        shown = [page.parent / name for name in re.findall(r"!\[[^]]*\]\(([^)]+)\)", text)]
        if target in [path.resolve() for path in shown]:
            found.append(text)
    return found


def test_every_picture_of_the_documents_has_its_commands_and_every_entry_is_a_picture() -> None:
    there = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.png")}
    names = [picture.name for picture in ALL]
    assert set(names) == there
    assert len(names) == len(set(names))


@pytest.mark.parametrize("picture", ALL, ids=lambda picture: picture.name)
def test_the_commands_of_a_picture_stand_on_a_page_that_shows_it(picture: Picture) -> None:
    assert picture.commands
    pages = pages_showing(picture)
    assert pages
    for command in picture.commands:
        assert any(command in page for page in pages), command


@pytest.mark.parametrize("group", ["pathology", "remedy"])
def test_the_gallery_has_a_page_for_every_choice_and_each_page_cites_a_source(group: str) -> None:
    folder = DOCS / "gallery" / {"pathology": "pathologies", "remedy": "remedies"}[group]
    pages = {page.stem: page.read_text(encoding="utf-8") for page in folder.glob("*.md")}
    assert set(pages) == set(shipped.names(group)) - {"none"}
    for name, text in pages.items():
        paper = text.partition("Paper: ")[2]
        assert re.search(r"(19|20)\d\d", paper), name
        assert re.search(rf"^python scripts/train.py study=gallery study.name={name} ", text, re.M)
        words = dict(re.findall(r" (pathology|remedy)=(\S+)", text))
        assert name in words[group].split(","), name


@pytest.mark.slow
def test_a_picture_whose_commands_need_no_training_is_made_and_shrunk(tmp_path: Path) -> None:
    names = ["reliability.png"]
    (made,) = make(chosen(ALL, names), REPOSITORY, tmp_path)
    assert made == tmp_path / "reliability.png"
    with Image.open(made) as picture, Image.open(DOCS / "reliability.png") as shipped_picture:
        assert picture.size == shipped_picture.size
        assert 800 < picture.width <= WIDEST


def test_a_wide_picture_keeps_its_proportions_and_a_failing_command_ends_it(tmp_path: Path) -> None:
    Image.new("RGB", (3200, 800), "white").save(tmp_path / "wide.png")
    (made,) = make([Picture("small.png", (), "wide.png")], tmp_path, tmp_path / "docs")
    with Image.open(made) as picture:
        assert picture.size == (WIDEST, WIDEST // 4)
    (tmp_path / "fails.py").write_text("raise SystemExit(3)")
    failing = Picture("small.png", ("python fails.py",), "wide.png")
    with pytest.raises(ConfigError, match=r"^`python fails.py` ended with status 3$"):
        list(make([failing], tmp_path, tmp_path / "docs"))


def test_an_unknown_name_is_one_line() -> None:
    with pytest.raises(ConfigError, match=r"^nothing.png: no picture has this name; --list shows"):
        chosen(ALL, ["probe.png", "nothing.png"])
