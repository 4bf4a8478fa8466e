"""From nothing to verified rows: the file of an earlier time, a local copy, or the sources.

Knows the order, the lock and what is left on the disk; how a source works is `sources.py`'s.
All work is done in a folder of its own, so that whatever moment it is killed at, nothing is left
that would be taken for data; the next attempt sweeps the rest away.
"""

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from gradflow.errors import DataError
from project.data.cifar10 import rows as rows_file
from project.data.cifar10 import sources
from project.data.cifar10.pace import Limits, TooSlowError
from project.data.cifar10.rows import Rows

logger = logging.getLogger("project.data")

_LOCK = ".cifar10.lock"
_STAGING = ".cifar10-partial-"


def prepare(root: Path, source: Sequence[str], limits: Limits) -> Rows:
    """Return CIFAR-10's rows, verified; DataError when they cannot be had.

    Looks in `root` first, then asks each of `source` in turn. One that delivers less than
    `limits.min_rate` is left for the next; it is taken up again, without that limit, only if all
    the others fail. Afterwards `root` holds one file that the next call reads at once.
    """
    try:
        return rows_file.read(root)
    except (FileNotFoundError, DataError):
        pass  # looked at again below, where nobody else is at work
    if (root / sources.FOLDER).is_dir() and not os.access(root, os.W_OK):
        # A shared copy that may only be read: nothing can be kept beside it.
        return rows_file.verify(sources.from_folder(root), str(root / sources.FOLDER))
    try:
        root.mkdir(parents=True, exist_ok=True)
        with _locked(root), _staging(root) as staging:
            return _prepare(root, staging, source, limits)
    except OSError as error:
        raise DataError(f"data.root={root}: {error.strerror or error}") from None


def _prepare(root: Path, staging: Path, source: Sequence[str], limits: Limits) -> Rows:
    try:
        return rows_file.read(root)  # another process made it while this one waited
    except FileNotFoundError:
        pass
    except DataError as error:
        logger.warning("%s; making it anew", error)
    failures: list[str] = []
    rows = _from_local_copy(root, staging, failures)
    if rows is None:
        rows = _from_sources(staging, source, limits, failures)
    rows_file.write(rows, root, staging)
    return rows


def _from_local_copy(root: Path, staging: Path, failures: list[str]) -> Rows | None:
    """Decode what torchvision, or the user, left in `root`; None if there is nothing sound."""
    try:
        if (root / sources.FOLDER).is_dir():
            where = root / sources.FOLDER
            return rows_file.verify(sources.from_folder(root), str(where))
    except DataError as error:
        _note(failures, str(error))
    try:
        where = root / sources.ARCHIVE
        if where.is_file():
            folder = _empty(staging, "local")
            return rows_file.verify(sources.from_archive(where, folder), str(where))
    except DataError as error:
        _note(failures, str(error))
    return None


def _from_sources(
    staging: Path, source: Sequence[str], limits: Limits, failures: list[str]
) -> Rows:
    """Ask the sources in turn; DataError that tells of each if none can help."""
    queue = [(name, limits) for name in source]
    queue[-1] = (source[-1], limits._replace(min_rate=0))  # nothing is left to change to
    slow: list[tuple[float, str]] = []
    while queue:
        name, bounds = queue.pop(0)
        folder = _empty(staging, name)
        try:
            return rows_file.verify(sources.fetch(name, folder, bounds), f"what came from {name}")
        except TooSlowError as error:
            slow.append((error.rate, name))
            reason = str(error)
        except DataError as error:
            reason = str(error)
        except OSError as error:  # of the disk, or of a program that does not start
            reason = " ".join(str(error).split())
        shutil.rmtree(folder, ignore_errors=True)
        if not queue and slow:  # better slowly than not at all, the fastest first
            slow.sort()
            queue.append((slow.pop()[1], limits._replace(min_rate=0)))
        following = f"trying {queue[0][0]} next" if queue else "no source is left"
        _note(failures, f"{name}: {reason}", f"; {following}")
    raise DataError(
        f"CIFAR-10 could not be had ({'; '.join(failures)}): "
        f"put {sources.FOLDER} or {sources.ARCHIVE} into the folder that data.root names, "
        f"choose data.source from {', '.join(sources.NAMES)}, or use data=synthetic"
    )


def _note(failures: list[str], reason: str, following: str = "") -> None:
    failures.append(reason)
    logger.warning("CIFAR-10, %s%s", reason, following)


def _empty(staging: Path, name: str) -> Path:
    folder = staging / name
    folder.mkdir()
    return folder


@contextmanager
def _locked(root: Path) -> Iterator[None]:
    """Let one process in at a time; the system frees the lock of one that is killed."""
    lock = FileLock(root / _LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        logger.info("another process is getting CIFAR-10 into %s: waiting for it", root)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _staging(root: Path) -> Iterator[Path]:
    """Make a folder to work in, and leave none behind, of earlier attempts neither."""
    _sweep(root)
    try:
        yield Path(tempfile.mkdtemp(prefix=_STAGING, dir=root))
    finally:
        _sweep(root)


def _sweep(root: Path) -> None:
    for leftover in root.glob(f"{_STAGING}*"):
        shutil.rmtree(leftover, ignore_errors=True)
