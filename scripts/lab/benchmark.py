"""Measure the figures of docs/costs.md and theory.md: `python scripts/lab/benchmark.py data`."""

import sys

from gradflow.errors import ConfigError
from gradflow.launch import cli
from lab.benchmarks import band, data, gradients, step, sweep, theory
from lab.benchmarks.gpu import main as gpu

BENCHMARKS = {
    "band": band.main,
    "data": data.main,
    "gpu": gpu.main,
    "gradients": gradients.main,
    "step": step.main,
    "sweep": sweep.main,
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
