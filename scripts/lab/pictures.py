"""Make the pictures of README and docs again, each by the commands that its page shows.

python scripts/lab/pictures.py --list                        names and commands
python scripts/lab/pictures.py probe.png matrix.png          these alone
python scripts/lab/pictures.py --into /tmp/docs              all, into another folder than docs/

All together take about two hours on two cores; finished runs of a study are not computed again.
"""

import argparse
from pathlib import Path

from gradflow.launch import cli


def main() -> None:
    """Run the commands of the pictures, and copy what they make."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="paths below docs/ (default: all)")
    parser.add_argument(
        "--list", action="store_true", help="print names and commands; make nothing"
    )
    parser.add_argument("--into", type=Path, default=Path("docs"), help="folder (default: docs)")
    arguments = parser.parse_args()

    from lab.pictures import chosen, make, pictures

    some = chosen(pictures(Path()), arguments.names)
    if arguments.list:
        for picture in some:
            print(picture.name, *picture.commands, sep="\n    ")
        return
    for path in make(some, Path(), arguments.into):
        print(f"picture: {path}")


if __name__ == "__main__":
    cli.run(main)
