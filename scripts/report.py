"""Create a study's report on Weights & Biases: `python scripts/report.py multirun/demo`."""

import argparse
import json
import sys
from pathlib import Path

from gradflow.launch import cli


def main() -> None:
    """Send the report and print its address; with --definition, only write the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", type=Path, help="the study's folder")
    parser.add_argument(
        "--definition",
        metavar="FILE",
        help="only write the report to FILE, as JSON (-: standard output); needs no account",
    )
    arguments = parser.parse_args()

    from gradflow.comparison.report import definition, make_report, read_study, send
    from gradflow.errors import ConfigError

    study = read_study(arguments.study)
    if arguments.definition is None:
        print(send(study))
        return
    written = json.dumps(definition(make_report(study)), indent=2) + "\n"
    if arguments.definition == "-":
        sys.stdout.write(written)
    else:
        try:
            Path(arguments.definition).write_text(written)
        except OSError as error:
            raise ConfigError(f"--definition {arguments.definition}: {error.strerror}") from error


if __name__ == "__main__":
    cli.run(main)
