"""Train one run, or a study of many runs with -m.

python scripts/train.py                                       one run
python scripts/train.py model=resnet activation=gelu steps=5000
python scripts/train.py -m norm=none,batch seed=0,1,2         a study: six runs and their table
python scripts/train.py study=<name>                          a study from a file
python scripts/train.py --cfg job                             print the composed configuration
python scripts/train.py --help                                list the axes and their choices
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from gradflow.launch import cli

if TYPE_CHECKING:
    from omegaconf import DictConfig


def job(config: DictConfig) -> float | None:
    """Run one job, and return what a search optimizes."""

    def run() -> float | None:
        from gradflow.launch.job import run_job  # imported here, since --help does not need it

        return run_job(config)

    # Also called here, since Hydra prints a line of its own if an exception leaves this function.
    return cli.run(run)


def main() -> None:
    """List the axes, or let Hydra compose and call `job` for each job."""
    if {"--help", "-h"} & set(sys.argv[1:]):
        from gradflow.launch.help import help_text

        print(f"{__doc__}\n{help_text(Path(__file__).parents[1] / 'conf')}")
        return
    sys.argv[1:] = cli.arranged(sys.argv[1:])
    import hydra

    from gradflow.launch.plugins import register
    from gradflow.launch.program import run_program

    register()
    run_program(hydra.main(version_base="1.3", config_path="../conf", config_name="train")(job))


if __name__ == "__main__":
    cli.run(main)
