"""What a script's command line says where something goes wrong, and its exit status."""

import errno
import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gradflow.errors import ConfigError
from gradflow.launch import cli

SCRIPTS = Path(__file__).resolve().parents[3] / "scripts"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ConfigError("lr=0: no"), "error: lr=0: no\n"),
        (OSError(errno.ENOSPC, "No space left on device"), "error: writing a file: No space left"),
        (PermissionError(errno.EACCES, "Permission denied", "/x/y"), "error: /x/y: Permission"),
        (FileExistsError(errno.EEXIST, "File exists", "/x"), "error: /x: File exists\n"),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory", "/x"), "error: /x: Not a directory"),
    ],
)
def test_what_a_user_can_mend_is_one_line_and_exit_status_2(
    error: Exception, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def main() -> None:
        raise error

    with pytest.raises(SystemExit) as left:
        cli.run(main)
    assert left.value.code == 2
    printed = capsys.readouterr().err
    assert printed.startswith(said)
    assert printed.count("\n") == 1


@pytest.mark.parametrize("error", [FileNotFoundError(2, "No such file"), BrokenPipeError(32, "it")])
def test_other_errors_keep_their_traceback(error: Exception) -> None:
    def main() -> None:
        raise error

    with pytest.raises(type(error)):
        cli.run(main)


def test_a_value_error_of_a_project_below_a_folder_called_hydra_keeps_its_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "hydra" / "project"
    folder.mkdir(parents=True)
    (folder / "own_net.py").write_text("def main():\n    raise ValueError('a bug')\n")
    monkeypatch.syspath_prepend(str(folder))
    import own_net

    with pytest.raises(ValueError, match="a bug"):
        cli.run(own_net.main)


def test_an_interrupt_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> None:
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as left:
        cli.run(main)
    assert left.value.code == 130
    assert capsys.readouterr().err == "interrupted\n"


@pytest.mark.parametrize("script", ["train", "evaluate", "compare"])
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
