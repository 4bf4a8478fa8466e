"""Rename the package for a fork: `python scripts/rename.py my_project`, in a clean working tree.

It moves the folder and replaces the name in every tracked text file, this one and the
tests included. It commits nothing: `git diff HEAD` shows what it did, and `git reset --hard`
takes it back.
"""

import argparse
import keyword
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

OLD = "gradflow"
KEPT = {"LICENSE"}  # a fork adds its own copyright line, and has to leave the one it found


def git(*words: str) -> str:
    """Return what git prints."""
    return subprocess.run(["git", *words], capture_output=True, text=True, check=True).stdout


def refusal(new: str) -> str | None:
    """Say in one line why `new` cannot be the name here and now, or None."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", new) or keyword.iskeyword(new):
        return f"{new}: must be lower-case letters, digits and _, a letter first, and no keyword"
    if new == OLD:
        return f"{new}: is the package's name already"
    if not Path("src", OLD).is_dir():
        return f"src/{OLD}: is not there; run this in the repository's root"
    if find_spec(new) is not None:
        return f"{new}: is taken by a module of that name"
    try:
        changes = git("status", "--porcelain")
    except (subprocess.CalledProcessError, FileNotFoundError):
        return "git: this folder is no git repository, or git is missing; nothing could be undone"
    if changes:
        return "the working tree has changes; commit them first, so that the renaming stands alone"
    return None


def rename(new: str) -> list[Path]:
    """Move the package, replace its name in tracked text files and return those that changed."""
    git("mv", f"src/{OLD}", f"src/{new}")
    changed = []
    for path in map(Path, git("ls-files", "-z").split("\0")[:-1]):
        try:
            text = path.read_bytes().decode()
        except UnicodeDecodeError:
            continue  # a picture
        renamed = text.replace(OLD, new).replace(OLD.upper(), new.upper())
        if renamed != text and str(path) not in KEPT:
            path.write_bytes(renamed.encode())
            changed.append(path)
    return changed


def main() -> None:
    """Rename, or refuse in one line; say what changed and what comes next."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", help="the new package's name")
    new: str = parser.parse_args().name
    if reason := refusal(new):
        sys.exit(f"error: {reason}")
    changed = rename(new)
    print(f"src/{OLD} is now src/{new}; its name changed in {len(changed)} files:")
    print(*(f"  {path}" for path in changed), sep="\n")
    # The order of imports and the length of lines depend on the name; ruff breaks no long strings.
    print("next: make format && make test; if the name is longer, make lint lists lines to break")


if __name__ == "__main__":
    main()
