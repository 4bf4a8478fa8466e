"""Train one run, or with -m a study of many. `python scripts/train.py --help` lists the axes."""

import hydra
from omegaconf import DictConfig

from gradflow import cli


@hydra.main(version_base="1.3", config_path="../conf", config_name="train")
def main(config: DictConfig) -> None:
    """Run one job."""
    from gradflow.training.job import run_job  # seconds of imports that --help need not wait for

    # Here as well as below, since Hydra prints a line of its own about what leaves this function.
    cli.run(lambda: run_job(config))


if __name__ == "__main__":
    cli.run(main)
