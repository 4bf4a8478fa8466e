"""The shipped configuration files, found by looking: no test lists them."""

from pathlib import Path
from typing import Any

import yaml

CONF = Path(__file__).resolve().parents[3] / "conf"
TOPS = (CONF, CONF / "lab")
SIZE = ("depth", "width", "stem_stride")  # what a net keeps when another model file takes over
# No axes: these only select among the axes' files.
SELECTING = ("lab", "pathology", "remedy", "case", "study", "debug")


def names(group: str) -> list[str]:
    """Return the choices of a group in alphabetical order."""
    return sorted(path.stem for top in TOPS for path in (top / group).glob("*.yaml"))


def groups() -> list[str]:
    """Return every folder of conf/ that holds choices; conf/sweep holds W&B's files."""
    found = {path.parent.name for top in TOPS for path in top.glob("*/*.yaml")}
    return sorted(found - {"sweep"})


def file(group: str, name: str) -> Path:
    """Return the file of a choice."""
    (found,) = (path for top in TOPS if (path := top / group / f"{name}.yaml").exists())
    return found


def read(group: str, name: str) -> dict[str, Any]:
    """Return the file's own keys, unresolved, without its defaults list."""
    content = yaml.safe_load(file(group, name).read_text()) or {}
    content.pop("defaults", None)
    return content


def selects(group: str, name: str) -> dict[str, str]:
    """Return the overrides in the file's defaults list: group to choice."""
    content = yaml.safe_load(file(group, name).read_text()) or {}
    return {
        key.removeprefix("override /"): choice
        for entry in content.get("defaults", [])
        if isinstance(entry, dict)  # a file that is added, not an override, is a string
        for key, choice in entry.items()
    }
