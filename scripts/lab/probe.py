"""Measure a net's gradients at initialization, without training, and compare them with theory.

python scripts/lab/probe.py pathology=vanishing
python scripts/lab/probe.py model=plain_cnn norm=none init=gaussian init.weight_variance=2
"""

import argparse
from pathlib import Path

from gradflow.errors import ConfigError
from gradflow.launch import cli
from gradflow.launch.compose import compose


def main() -> None:
    """Print and draw the profile of the net in the overrides."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("overrides", nargs="*", help="overrides, as for scripts/train.py")
    parser.add_argument(
        "--figure",
        type=Path,
        default=Path("outputs/probe.png"),
        help="output file: .png, .svg or .pdf (default: outputs/probe.png)",
    )
    arguments = parser.parse_args()
    figure: Path = arguments.figure
    if figure.suffix not in (".png", ".svg", ".pdf"):
        raise ConfigError(f"--figure={figure}: must end in .png, .svg or .pdf")
    config = compose(arguments.overrides)

    from lab.probe.figure import draw_probe
    from lab.probe.run import probe
    from lab.probe.table import print_probe

    found = probe(config)
    print_probe(found)
    try:
        figure.parent.mkdir(parents=True, exist_ok=True)
        draw_probe(found, " ".join(arguments.overrides) or "default", figure)
    except OSError as error:
        raise ConfigError(f"--figure={figure}: {error.strerror}") from error
    print(f"figure: {figure}")


if __name__ == "__main__":
    cli.run(main)
