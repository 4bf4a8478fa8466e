"""Get verified rows from the cached file, a local copy, or the sources, in this order.

Knows the order, the lock and the files on disk; `sources.py` knows how each source works. All work
is done in a temporary folder, so that a killed process leaves nothing that looks like data. The
next attempt deletes that folder.
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
    """Return CIFAR-10's rows, verified. DataError if no source delivers them.

    Looks in `root` first, then tries each of `source` in turn. A source slower than
    `limits.min_rate` is skipped. If all others fail, it is tried again without that limit. The
    rows are cached in `root`, as one file that the next call reads.
    """
    try:
        return rows_file.read(root)
    except (FileNotFoundError, DataError):
        pass  # checked again below, with the lock held
    if (root / sources.FOLDER).is_dir() and not os.access(root, os.W_OK):
        # A shared copy in a read-only folder, which cannot hold the cached file.
        return rows_file.verify(sources.from_folder(root), str(root / sources.FOLDER))
    try:
        root.mkdir(parents=True, exist_ok=True)
        with _locked(root), _staging(root) as staging:
            return _prepare(root, staging, source, limits)
    except OSError as error:
        raise DataError(f"data.root={root}: {error.strerror or error}") from None


def _prepare(root: Path, staging: Path, source: Sequence[str], limits: Limits) -> Rows:
    try:
        return rows_file.read(root)  # another process wrote it while this one waited
    except FileNotFoundError:
        pass
    except DataError as error:
        logger.warning("%s; it is made again", error)
    failures: list[str] = []
    rows = _from_local_copy(root, staging, failures)
    if rows is None:
        rows = _from_sources(staging, source, limits, failures)
    rows_file.write(rows, root, staging)
    return rows


def _from_local_copy(root: Path, staging: Path, failures: list[str]) -> Rows | None:
    """Decode a copy that torchvision or the user left in `root`; None if none is valid."""
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
    """Try the sources in turn. DataError, with the reason for each, if all fail."""
    queue = [(name, limits) for name in source]
    queue[-1] = (source[-1], limits._replace(min_rate=0))  # the last source has no alternative
    slow: list[tuple[float, str]] = []
    while queue:
        name, bounds = queue.pop(0)
        folder = _empty(staging, name)
        try:
            return rows_file.verify(
                sources.fetch(name, folder, bounds), f"the download from {name}"
            )
        except TooSlowError as error:
            slow.append((error.rate, name))
            reason = str(error)
        except DataError as error:
            reason = str(error)
        except OSError as error:  # from the disk, or a program that does not start
            reason = " ".join(str(error).split())
        shutil.rmtree(folder, ignore_errors=True)
        if not queue and slow:  # retry the slow sources, the fastest first
            slow.sort()
            queue.append((slow.pop()[1], limits._replace(min_rate=0)))
        following = f"trying {queue[0][0]} next" if queue else "no source is left"
        _note(failures, f"{name}: {reason}", f"; {following}")
    raise DataError(
        f"CIFAR-10 could not be loaded ({'; '.join(failures)}): "
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
    """Lock `root` for one process; the system frees the lock of a killed process."""
    lock = FileLock(root / _LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        logger.info("another process is loading CIFAR-10 into %s: waiting for it", root)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _staging(root: Path) -> Iterator[Path]:
    """Make a temporary folder; delete it afterwards, and those of earlier attempts."""
    _sweep(root)
    try:
        yield Path(tempfile.mkdtemp(prefix=_STAGING, dir=root))
    finally:
        _sweep(root)


def _sweep(root: Path) -> None:
    for leftover in root.glob(f"{_STAGING}*"):
        shutil.rmtree(leftover, ignore_errors=True)
