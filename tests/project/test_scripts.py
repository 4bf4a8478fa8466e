"""The scripts as processes: what their command lines say where something ends them early."""

import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


@pytest.mark.parametrize("script", ["train", "evaluate", "compare", "predict"])
def test_an_interrupt_while_libraries_are_imported_is_one_line(script: str, tmp_path: Path) -> None:
    """A module named like one that each script imports interrupts its own import."""
    (tmp_path / "yaml.py").write_text(
        # A shell starts background jobs, and all below them, with SIGINT ignored.
        "import os, signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"os.kill(os.getpid(), {int(signal.SIGINT)})\n"
    )
    done = subprocess.run(
        [sys.executable, str(SCRIPTS / f"{script}.py"), str(tmp_path)],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (130, "interrupted\n")


def test_a_reader_that_leaves_early_is_no_error() -> None:
    """The pipe's end is closed before the script prints into it."""
    reader, writer = os.pipe()
    os.close(reader)
    with io.FileIO(writer, "w") as closed:
        done = subprocess.run(
            [sys.executable, str(SCRIPTS / "train.py"), "--help"],
            stdout=closed,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.stderr == ""
    assert done.returncode == 1
