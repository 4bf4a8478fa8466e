"""Check settings that name a folder to write to."""

from __future__ import annotations

from pathlib import Path

from gradflow.errors import ConfigError

_LONGEST = 255  # bytes of a name, on every file system in use


def check_place(key: str, value: object) -> Path:
    """Return `value` as a path: below the working directory, or absolute.

    Raises:
        ConfigError: if it is empty, climbs up, or holds what no file system takes. Written to
            anyway, it would fill a folder that is somebody else's.
    """
    text = "" if value is None else str(value)
    path = Path(text)
    if not text.strip() or path == Path() or (".." in path.parts and not path.is_absolute()):
        raise ConfigError(
            f"{key}={text}: must be a folder below the working directory, or an absolute path"
        )
    if any(len(part.encode()) > _LONGEST for part in path.parts):
        raise ConfigError(f"{key}={text[:60]}…: has a name of more than {_LONGEST} bytes")
    if not text.isprintable():
        raise ConfigError(f"{key}={text!r}: holds characters that cannot be printed")
    return path
