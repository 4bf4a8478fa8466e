"""scripts/compare.py, as it is typed."""

import csv
import io
import subprocess
import sys
from pathlib import Path

import pytest
from hand_made import a_folder, record

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parents[3] / "scripts" / "compare.py"


def compare(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def study(tmp_path: Path) -> Path:
    for remedy in ("relu", "none"):
        folder = a_folder(tmp_path / "study" / remedy, metrics={"train/accuracy": 0.5})
        axes = f"{{pathology: vanishing, remedy: {remedy}}}"
        (folder / "config.yaml").write_text(f"seed: 0\naxes: {axes}\n")
        record(folder, 1e-6, 1.0)
    return tmp_path / "study"


def test_table_and_figures_are_made(study: Path, tmp_path: Path) -> None:
    done = compare(study, "--figures", tmp_path / "figures")
    assert done.returncode == 0, done.stderr
    assert "relu" in done.stdout
    assert "none" in done.stdout
    assert (tmp_path / "figures" / "profiles.svg").exists()
    assert "no figure curves: no run has logged any training metric" in done.stderr


def test_another_format_is_all_that_is_printed(study: Path) -> None:
    done = compare(study, "--where", "remedy=relu", "--format", "csv")
    assert done.returncode == 0, done.stderr
    (row,) = csv.DictReader(io.StringIO(done.stdout))
    assert (row["run"], row["train/accuracy_mean"]) == (str(study / "relu"), "0.5")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--page", "x.pdf"], "--page x.pdf: must end in .html"),
        (["--where", "remedy=tanh"], "--where remedy=tanh: no run is left"),
        (["--sort", "no"], "--sort no: there is no such column; allowed: remedy, "),
        (["no_folder"], "no_folder: is not the folder of a run or a study"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_nothing_is_printed(
    study: Path, words: list[str], message: str
) -> None:
    done = compare(study, *words)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {message}")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
