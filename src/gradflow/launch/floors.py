"""Check the installed packages against the versions that the library needs.

The version floors travel with the library's folder. A fork with a newer library and an outdated
environment gets one line, instead of a failure somewhere inside.
"""

from __future__ import annotations

import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from gradflow.errors import ConfigError
from gradflow.version import __version__

_DECLARED = Path(__file__).parents[1] / "pyproject.toml"  # a wheel lacks it; its installer checks


def check_floors(declared: Path = _DECLARED) -> None:
    """Raise ConfigError for the first installed package that is older or newer than allowed.

    Packages that are not installed, such as those of unused extras, are skipped.
    """
    if not declared.exists():
        return
    from packaging.requirements import Requirement  # Lightning brings it

    project = tomllib.loads(declared.read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"].values()
    for needed in map(Requirement, [*project["dependencies"], *(r for e in extras for r in e)]):
        try:
            installed = version(needed.name)
        except PackageNotFoundError:
            continue
        if needed.name != project["name"] and not needed.specifier.contains(installed, True):
            raise ConfigError(
                f"{needed.name} {installed} is installed; gradflow {__version__} needs {needed}: "
                "`make lock && make setup`"
            )
