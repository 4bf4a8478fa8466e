"""The template leans on the library alone, and stays small enough to be read."""

import ast
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PACKAGE = next(p for p in (REPOSITORY / "src").iterdir() if (p / "config.py").exists())


def test_nothing_of_the_laboratory_is_imported() -> None:
    for top in (PACKAGE, Path(__file__).parent, REPOSITORY / "scripts"):
        for path in top.rglob("*.py"):
            if "lab" in path.relative_to(REPOSITORY).parts:
                continue
            for node in ast.walk(ast.parse(path.read_text())):
                names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                names += [a.name for a in node.names] if isinstance(node, ast.Import) else []
                assert not [n for n in names if n.split(".")[0] == "lab"], path


@pytest.mark.skipif(PACKAGE.name != "project", reason="a fork grows as it likes")
def test_a_newcomer_can_read_all_of_it() -> None:
    lines = sum(len(path.read_text().splitlines()) for path in PACKAGE.rglob("*.py"))
    assert lines <= 2500
