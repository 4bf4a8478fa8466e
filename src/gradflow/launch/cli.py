"""Run a script's main function: a user's mistake is one line, not a traceback.

Slow imports happen only inside `run`: they take seconds, in which a user may press Ctrl-C.
"""

from __future__ import annotations

import errno
import io
import logging
import os
import select
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import NoReturn, TypeVar

T = TypeVar("T")

_JOB = "gradflow.launch.job"  # what is raised below it is no mistake in an override
# Storage errors that a user can fix, such as a full disk or a missing permission.
_STORAGE_ERRORS = {
    errno.ENOSPC,
    errno.EFBIG,
    errno.EDQUOT,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.ENOTDIR,
    errno.EEXIST,
    errno.EISDIR,
    errno.ENAMETOOLONG,
}


def run(main: Callable[[], T]) -> T:
    """Call `main` and return its value.

    Exits with 2 after one line if the user can fix the error, with 130 if interrupted. Any other
    error keeps its traceback.
    """
    logging.raiseExceptions = False  # no traceback where a log cannot be written: disk, terminal
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # no crash in a terminal without ±
            stream.reconfigure(errors="replace")
    try:
        try:
            return _run(main)
        finally:
            _flush()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        if not _reader_has_left():
            raise
        # The reader has left, as in `--help | head`. Python's own flush at exit must not fail.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def arranged(words: Sequence[str]) -> list[str]:
    """Return the words of a command line for Hydra, which takes overrides in one piece only.

    Raises:
        ConfigError: for an option that Hydra does not have, such as --lr=0.1; Hydra would print its
            usage.
    """
    from hydra._internal.utils import get_args_parser

    from gradflow.errors import ConfigError

    def refuse(message: str) -> NoReturn:
        raise ConfigError(f"{message}; --hydra-help lists the options")

    parser = get_args_parser()
    parser.error = refuse  # type: ignore[method-assign]
    known, unknown = parser.parse_known_intermixed_args(words)
    for word in unknown:
        if word.startswith("--") and "=" in word:
            raise ConfigError(
                f"{word}: overrides have no hyphens: {word.lstrip('-')}; "
                "the command of a W&B sweep takes ${args_no_hyphens}"
            )
        refuse(f"{word}: is no option")
    options, overrides = [], list(known.overrides)
    for word in words:
        if overrides and word == overrides[0]:
            del overrides[0]
        else:
            options.append(word)
    return [*known.overrides, *options]  # one such as --info takes the next word for its value


def _run(main: Callable[[], T]) -> T:
    # Otherwise Hydra prints its errors itself, over several lines, and exits.
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from gradflow.errors import ConfigError, DataError, RankError
    from gradflow.launch.floors import check_floors
    from gradflow.launch.one_line import cannot_compose, one_line
    from gradflow.runs.files import RunBusyError

    try:
        check_floors()
        return _interrupted(main)
    except (ConfigError, DataError, RunBusyError) as error:
        _exit_with(str(error))
    except RankError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except (HydraException, OmegaConfBaseException) as error:
        _exit_with(one_line(error))
    except OSError as error:
        if error.errno not in _STORAGE_ERRORS:
            raise
        # The error of a full disk does not name the file.
        _exit_with(f"{error.filename or 'writing a file'}: {error.strerror}")
    except Exception as error:
        if not _is_of_composing(error):
            raise
        _exit_with(cannot_compose(sys.argv[1:], error))


def _flush() -> None:
    """Flush standard output; leave it if the terminal is gone."""
    try:
        sys.stdout.flush()
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        nowhere = os.open(os.devnull, os.O_WRONLY)  # Python's own flush at exit must not fail
        for stream in (sys.stdout, sys.stderr):
            os.dup2(nowhere, stream.fileno())


def _interrupted(main: Callable[[], T]) -> T:
    """Call `main`; raise KeyboardInterrupt where Hydra made an error of its own out of one."""
    try:
        return main()
    except Exception as error:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, KeyboardInterrupt):
                raise KeyboardInterrupt from error
            cause = cause.__cause__ or cause.__context__
        raise


def _is_of_composing(error: BaseException) -> bool:
    """Say whether Hydra failed over the overrides: it raises errors of any type, and no job ran."""
    frames = traceback.walk_tb(error.__traceback__)
    modules = [str(frame.f_globals.get("__name__", "")) for frame, _ in frames]
    packages = {module.partition(".")[0] for module in modules}
    return "hydra" in packages and _JOB not in modules and not modules[-1].startswith("gradflow.")


def _reader_has_left() -> bool:
    standard_output = select.poll()
    standard_output.register(sys.stdout.fileno(), select.POLLERR)
    return bool(standard_output.poll(0))


def _exit_with(message: str) -> NoReturn:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)
