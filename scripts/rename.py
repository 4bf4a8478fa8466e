"""Rename the project for a fork: `python scripts/rename.py my_vision`, in a clean working tree.

The script moves src/project and tests/project. It replaces the package name in imports, in the
`_target_`s of conf/ and in paths, and the names of the distribution and of the W&B project. It
does not change the library, src/gradflow and tests/gradflow, so that newer versions can replace it.
It commits nothing: `git diff HEAD` shows the changes, `git reset --hard` undoes them.
"""

import argparse
import keyword
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

UNCHANGED = ("src/gradflow/", "tests/gradflow/", "LICENSE", "CHANGELOG.md")


def git(*arguments: str) -> str:
    """Run git, and return its output."""
    return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True).stdout


def current_name() -> str | None:
    """Return the project's package, as named in conf/train.yaml; None outside the root."""
    conf = Path("conf/train.yaml")
    found = re.search(r"^project: (\w+)\.", conf.read_text(), re.M) if conf.is_file() else None
    return found[1] if found and Path("src", found[1]).is_dir() else None


def refusal(old: str | None, new: str) -> str | None:
    """Return why the project cannot be renamed to `new`, in one line; None if it can."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", new) or keyword.iskeyword(new):
        return f"{new}: must start with a letter, have only a-z, 0-9 and _, and not be a keyword"
    if old is None:
        return "conf/train.yaml names no package of src/; run this in the root of the repository"
    if new == old:
        return f"{new}: is already the project's name"
    if find_spec(new) is not None:
        return f"{new}: is the name of another module"
    try:
        changes = git("status", "--porcelain")
    except (subprocess.CalledProcessError, FileNotFoundError):
        return "git: is missing, or this folder is no git repository; renaming could not be undone"
    if changes:
        return "the working tree has changes; commit them first"
    return None


def rename(old: str, new: str) -> list[Path]:
    """Move the package and its tests, replace its name, and return the changed files."""
    modules = "|".join(sorted({path.stem for path in Path("src", old).iterdir()}))
    for top in ("src", "tests"):
        git("mv", f"{top}/{old}", f"{top}/{new}")
    uses = re.compile(
        rf"(?<=\bfrom ){old}\b|(?<=\bimport ){old}\b"  # imports
        rf"|(?<![\w./-]){old}(?=\.(?:{modules})\b)"  # modules, as in a _target_
        rf"|(?<=\bsrc/){old}\b|(?<=\btests/){old}\b"  # folders
    )
    changed = []
    for path in map(Path, git("ls-files", "-z").split("\0")[:-1]):
        if str(path).startswith(UNCHANGED):
            continue
        try:
            text = path.read_bytes().decode()
        except UnicodeDecodeError:
            continue  # an image
        renamed = uses.sub(new, text)
        if path == Path("pyproject.toml"):
            renamed = re.sub(r'(?m)^name = ".*"$', f'name = "{new.replace("_", "-")}"', renamed)
            renamed = renamed.replace(f'"{old}"', f'"{new}"')  # coverage
        if path.parent == Path("conf/logger"):
            renamed = re.sub(r"(?m)^project: \S+", f"project: {new}", renamed)
        if renamed != text:
            path.write_bytes(renamed.encode())
            changed.append(path)
    return changed


def main() -> None:
    """Rename the project and print what changed, or exit with an error in one line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", help="the new package name")
    new: str = parser.parse_args().name
    old = current_name()
    if (reason := refusal(old, new)) or old is None:
        sys.exit(f"error: {reason}")
    changed = rename(old, new)
    print(f"src/{old} is now src/{new}; its name changed in {len(changed)} files:")
    print(*(f"  {path}" for path in changed), sep="\n")
    print("next: make format && make test; the order of imports depends on the name")


if __name__ == "__main__":
    main()
