"""scripts/compare.py, as it is typed."""

import subprocess
import sys
from pathlib import Path

import pytest
from hand_made import a_folder, record

SCRIPT = Path(__file__).parents[2] / "scripts" / "compare.py"


def compare(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("option", ["--profile", "--flow"])
def test_a_figure_of_another_kind_is_refused_before_anything_is_printed(
    tmp_path: Path, option: str
) -> None:
    done = compare(a_folder(tmp_path / "run"), option, tmp_path / "x.pdf")
    assert done.returncode == 2
    assert done.stderr == f"error: {option}={tmp_path / 'x.pdf'}: must end in .png or .svg\n"
    assert done.stdout == ""


def test_table_and_figures_are_made(tmp_path: Path) -> None:
    folder = a_folder(tmp_path / "run")
    record(folder, 1e-6, 1.0)
    figures = [tmp_path / "profile.svg", tmp_path / "flow.png"]
    done = compare(folder, "--profile", figures[0], "--flow", figures[1])
    assert done.returncode == 0, done.stderr
    assert "relu" in done.stdout
    assert figures[0].read_text().startswith("<?xml")
    assert figures[1].read_bytes().startswith(b"\x89PNG")
