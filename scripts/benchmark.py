"""Measure what the README claims: `python scripts/benchmark.py data`, `... step` and so on."""

import sys

from benchmarks import data, gradients, step, theory
from gradflow import cli
from gradflow.config import ConfigError

BENCHMARKS = {
    "data": data.main,
    "gradients": gradients.main,
    "step": step.main,
    "theory": theory.main,
}


def main() -> None:
    """Run the benchmark that the command line names, with the arguments that follow."""
    name, arguments = (sys.argv[1] if len(sys.argv) > 1 else ""), sys.argv[2:]
    if name not in BENCHMARKS:
        raise ConfigError(f"benchmark={name or 'none given'}: allowed: {', '.join(BENCHMARKS)}")
    BENCHMARKS[name](arguments)


if __name__ == "__main__":
    cli.run(main)
