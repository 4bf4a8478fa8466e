"""Evaluate a run's checkpoint again: `python scripts/evaluate.py multirun/demo/<run>`."""

import argparse
from pathlib import Path

from gradflow.launch import cli


def main() -> None:
    """Print the validation and test metrics of one run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="the run's folder")
    parser.add_argument("--checkpoint", choices=["last", "best"], default="last")
    parser.add_argument(
        "--trust", action="store_true", help="run code that a run of somebody else's names"
    )
    arguments = parser.parse_args()

    from gradflow.training.evaluate import evaluate
    from gradflow.training.process import quieten
    from project.train import PROJECT

    quieten()
    figures = evaluate(PROJECT, arguments.run, arguments.checkpoint, trust=arguments.trust)
    for name, value in figures.items():
        print(f"{name:20s} {value:.6f}")


if __name__ == "__main__":
    cli.run(main)
