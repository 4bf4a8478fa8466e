"""Name the project for a fork: `python scripts/rename.py my_vision`, in a clean working tree.

It moves src/project and tests/project, and replaces the name where it means the package: in
imports, in the `_target_`s of conf/, in paths, as the name of the distribution and of the W&B
project. The library, src/gradflow and tests/gradflow, is left as it is, so that newer versions
of it can be taken. It commits nothing: `git diff HEAD` shows what it did, `git reset --hard` takes
it back.
"""

import argparse
import keyword
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

KEPT = ("src/gradflow/", "tests/gradflow/", "LICENSE", "CHANGELOG.md")  # not the fork's to change


def git(*words: str) -> str:
    """Return what git prints."""
    return subprocess.run(["git", *words], capture_output=True, text=True, check=True).stdout


def present_name() -> str | None:
    """Return the package that conf/train.yaml names as the project, or None outside of the root."""
    conf = Path("conf/train.yaml")
    found = re.search(r"^project: (\w+)\.", conf.read_text(), re.M) if conf.is_file() else None
    return found[1] if found and Path("src", found[1]).is_dir() else None


def refusal(old: str | None, new: str) -> str | None:
    """Say in one line why `new` cannot be the name here and now, or None."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", new) or keyword.iskeyword(new):
        return f"{new}: must be lower-case letters, digits and _, a letter first, and no keyword"
    if old is None:
        return "conf/train.yaml names no package of src/; run this in the repository's root"
    if new == old:
        return f"{new}: is the project's name already"
    if find_spec(new) is not None:
        return f"{new}: is taken by a module of that name"
    try:
        changes = git("status", "--porcelain")
    except (subprocess.CalledProcessError, FileNotFoundError):
        return "git: this folder is no git repository, or git is missing; nothing could be undone"
    if changes:
        return "the working tree has changes; commit them first, so that the renaming stands alone"
    return None


def rename(old: str, new: str) -> list[Path]:
    """Move the package and its tests, replace its name and return the files that changed."""
    modules = "|".join(sorted({path.stem for path in Path("src", old).iterdir()}))
    for top in ("src", "tests"):
        git("mv", f"{top}/{old}", f"{top}/{new}")
    meant = re.compile(
        rf"(?<=\bfrom ){old}\b|(?<=\bimport ){old}\b"  # import it
        rf"|(?<![\w./-]){old}(?=\.(?:{modules})\b)"  # one of its modules, as in a _target_
        rf"|(?<=\bsrc/){old}\b|(?<=\btests/){old}\b"  # its folders
    )
    changed = []
    for path in map(Path, git("ls-files", "-z").split("\0")[:-1]):
        if str(path).startswith(KEPT):
            continue
        try:
            text = path.read_bytes().decode()
        except UnicodeDecodeError:
            continue  # a picture
        renamed = meant.sub(new, text)
        if path == Path("pyproject.toml"):
            renamed = re.sub(r'(?m)^name = ".*"$', f'name = "{new.replace("_", "-")}"', renamed)
            renamed = renamed.replace(f'"{old}"', f'"{new}"')  # whose coverage is taken
        if path.parent == Path("conf/logger"):
            renamed = re.sub(r"(?m)^project: \S+", f"project: {new}", renamed)
        if renamed != text:
            path.write_bytes(renamed.encode())
            changed.append(path)
    return changed


def main() -> None:
    """Rename, or refuse in one line; say what changed and what comes next."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", help="the project's new name, as Python imports it")
    new: str = parser.parse_args().name
    old = present_name()
    if (reason := refusal(old, new)) or old is None:
        sys.exit(f"error: {reason}")
    changed = rename(old, new)
    print(f"src/{old} is now src/{new}; its name changed in {len(changed)} files:")
    print(*(f"  {path}" for path in changed), sep="\n")
    print("next: make format && make test; the order of imports depends on the name")


if __name__ == "__main__":
    main()
