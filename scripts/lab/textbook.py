"""Measure what the usual text on vanishing and exploding gradients claims of new nets.

python scripts/lab/textbook.py              two tables in Markdown; 3 seeds, about a minute

docs/textbook.md sets the figures beside the claims.
"""

import argparse
from statistics import fmean

from gradflow.errors import ConfigError
from gradflow.launch import cli


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3, help="number of nets a case (default: 3)")
    arguments = parser.parse_args()
    if arguments.seeds < 1:
        raise ConfigError(f"--seeds={arguments.seeds}: must be at least 1")
    seeds = range(arguments.seeds)

    from lab.textbook import CASES, clipped, starts

    print(
        "| net | z beyond 5, % | z, last over first | dL/dz, first over last "
        "| dL/dw, first over last | smallest dL/dw | loss |"
    )
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for name, words in CASES.items():
        found = starts(words, seeds)
        decades = " | ".join(
            f"{fmean(getattr(start, key) for start in found):+.1f}"
            for key in ("signal", "gradient", "weights", "smallest")
        )
        far = 100 * fmean(start.far for start in found)
        print(
            f"| {name} | {far:.1f} | {decades} | {fmean(s.loss for s in found):.3g} |", flush=True
        )
    print("\n| clipping, in `saturated_tanh` | dL/dw, first over last |\n| --- | ---: |")
    for clip, ratios in clipped(["pathology=saturated_tanh"], seeds).items():
        print(f"| {clip} | {fmean(ratios):+.2f} |")


if __name__ == "__main__":
    cli.run(main)
