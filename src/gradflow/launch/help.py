"""`--help`: every axis with one line for each choice, taken from the files of conf/.

Reads the files as text, so that the answer comes before anything slow is imported.
"""

from __future__ import annotations

from pathlib import Path

import yaml

_NO_GROUP = "sweep"  # a folder of W&B's files


def help_text(conf: Path, primary: str = "train") -> str:
    """Return the axes of `conf` with their choices, then the single values of its run.yaml.

    A star marks the default. A folder of `conf` that holds folders, such as conf/lab, adds its own.
    """
    defaults = _defaults(conf / f"{primary}.yaml")
    tops = [conf]
    for folder in sorted(path for path in conf.iterdir() if path.is_dir()):
        if any(inner.is_dir() for inner in folder.iterdir()):
            tops.append(folder)
            defaults |= _defaults(folder / f"{folder.name}.yaml")
    files: dict[str, list[Path]] = {axis: [] for axis in defaults}
    for top in tops:
        for file in sorted(top.glob("*/*.yaml")):
            if file.parent not in tops and file.parent.name != _NO_GROUP:
                files.setdefault(file.parent.name, []).append(file)
    width = max(len(file.stem) for choices in files.values() for file in choices)
    lines = []
    for axis, choices in files.items():
        lines += [f"{axis}="] if choices else []
        for file in sorted(choices, key=lambda file: file.stem):
            mark = "*" if file.stem == defaults.get(axis) else " "
            lines.append(f" {mark}{file.stem:{width}s}  {_first_comment(file)}".rstrip())
    lines += ["", *_single_values(conf / "run.yaml")]
    return "\n".join(lines)


def _defaults(file: Path) -> dict[str, str]:
    """Return the choices of a file's defaults list, by axis."""
    content = yaml.safe_load(file.read_text(encoding="utf-8")) if file.is_file() else {}
    found = {}
    for entry in content.get("defaults", []):
        if isinstance(entry, dict):
            (axis, choice), *_ = entry.items()
            if not axis.startswith(("override ", "optional ")):
                found[axis.removeprefix("/")] = str(choice)
    return found


def _first_comment(file: Path) -> str:
    lines = file.read_text(encoding="utf-8").splitlines()
    comments = [line for line in lines if line.startswith("# ") and "@package" not in line]
    if not comments:
        return ""
    goes_on = len(comments) > 1 and comments[0][-1] not in ".:"
    return comments[0].removeprefix("# ") + (" …" if goes_on else "")


def _single_values(file: Path) -> list[str]:
    """Return the lines `key: value  # comment` of a file that are no mapping."""
    lines = file.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line[:1].isalpha() and not line.rstrip().endswith(":")]
