"""Rename the package for a fork: `python scripts/rename.py my_project`, in a clean working tree."""

import argparse
import re
import subprocess
import sys
from pathlib import Path

OLD = "gradflow"


def git(*words: str) -> str:
    """Return what git prints."""
    return subprocess.run(["git", *words], capture_output=True, text=True, check=True).stdout


def refusal(new: str) -> str | None:
    """Say in one line why `new` cannot be the name, or None."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", new):
        return f"{new}: must be lower-case letters, digits and _, a letter first"
    if new in sys.stdlib_module_names or new == OLD:
        return f"{new}: is taken"
    if not Path("src", OLD).is_dir():
        return f"src/{OLD}: is not there; renamed already, or another folder?"
    if git("status", "--porcelain"):
        return "the working tree has changes; commit them first, so that the renaming stands alone"
    return None


def main() -> None:
    """Move the package and replace its name in every tracked text file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", help="the new package's name")
    new: str = parser.parse_args().name
    if reason := refusal(new):
        sys.exit(f"error: {reason}")
    git("mv", f"src/{OLD}", f"src/{new}")
    changed = 0
    for path in map(Path, git("ls-files").splitlines()):
        if path == Path("scripts/rename.py"):
            continue
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue  # a picture
        if OLD in text.lower():
            renamed = text.replace(OLD, new).replace(OLD.upper(), new.upper())
            path.write_text(renamed)
            changed += 1
    print(f"src/{OLD} is now src/{new}; {changed} files name it. Next: make setup && make test")


if __name__ == "__main__":
    main()
