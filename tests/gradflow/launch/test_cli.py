"""What a script's command line says where something goes wrong, and its exit status."""

import errno
import sys
from pathlib import Path

import pytest

from gradflow.errors import ConfigError
from gradflow.launch import cli, program


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ConfigError("lr=0: no"), "error: lr=0: no\n"),
        (OSError(errno.ENOSPC, "No space left on device"), "error: writing a file: No space left"),
        (PermissionError(errno.EACCES, "Permission denied", "/x/y"), "error: /x/y: Permission"),
        (FileExistsError(errno.EEXIST, "File exists", "/x"), "error: /x: File exists\n"),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory", "/x"), "error: /x: Not a directory"),
    ],
)
def test_what_a_user_can_mend_is_one_line_and_exit_status_2(
    error: Exception, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def main() -> None:
        raise error

    with pytest.raises(SystemExit) as left:
        cli.run(main)
    assert left.value.code == 2
    printed = capsys.readouterr().err
    assert printed.startswith(message)
    assert printed.count("\n") == 1


@pytest.mark.parametrize("error", [FileNotFoundError(2, "No such file"), BrokenPipeError(32, "it")])
def test_other_errors_keep_their_traceback(error: Exception) -> None:
    def main() -> None:
        raise error

    with pytest.raises(type(error)):
        cli.run(main)


def test_ctrl_c_is_ctrl_c_where_another_error_was_made_of_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Hydra does so while it composes."""

    def main() -> None:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt as stop:
            raise ValueError("a bad override") from stop

    with pytest.raises(SystemExit) as left:
        cli.run(main)
    assert left.value.code == 130
    assert capsys.readouterr().err == "interrupted\n"


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


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["a=1", "-m", "b=1,2"], ["a=1", "b=1,2", "-m"]),
        (["a=1", "--cfg", "job", "~b"], ["a=1", "~b", "--cfg", "job"]),
        (["-cn", "other", "a=1"], ["a=1", "-cn", "other"]),
        (["a=1", "--info"], ["a=1", "--info"]),
        (["a=1", "a=2"], ["a=1", "a=2"]),
    ],
)
def test_options_may_stand_anywhere_among_the_overrides(
    words: list[str], expected: list[str]
) -> None:
    assert cli.arranged(words) == expected


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["a=1", "--lr=0.1"], "--lr=0.1: overrides have no hyphens: lr=0.1"),
        (["-x", "a=1"], "-x: is no option; --hydra-help lists the options"),
        (["--cfg", "nosuch"], "argument --cfg/-c: invalid choice: 'nosuch'"),
        (["a=1", "-cn"], "argument --config-name/-cn: expected one argument"),
    ],
)
def test_an_option_that_does_not_exist_is_one_line(words: list[str], line: str) -> None:
    with pytest.raises(ConfigError) as refused:
        cli.arranged(words)
    assert str(refused.value).startswith(line)
    assert "\n" not in str(refused.value)


def test_a_second_pass_adds_its_overrides_to_those_of_the_command_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Behind the options, Hydra would not take them."""
    monkeypatch.setattr("sys.argv", ["train.py", "a=1", "-m"])
    with program._arguments(["b=2"]):
        assert sys.argv == ["train.py", "a=1", "b=2", "-m"]
    assert sys.argv == ["train.py", "a=1", "-m"]
