"""The small project's command line, as scripts/train.py is the template's."""

import hydra
from omegaconf import DictConfig

from gradflow.launch import cli
from gradflow.launch.job import run_job
from gradflow.launch.plugins import register
from gradflow.launch.program import run_program


def job(config: DictConfig) -> float | None:
    return cli.run(lambda: run_job(config))


def main() -> None:
    register()
    run_program(hydra.main(version_base="1.3", config_path="small_conf", config_name="train")(job))


if __name__ == "__main__":
    cli.run(main)
