"""Train one run, or with -m a study of many. `python scripts/train.py --help` lists the axes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradflow.launch import cli

if TYPE_CHECKING:
    from omegaconf import DictConfig


def job(config: DictConfig) -> None:
    """Run one job."""

    def run() -> None:
        from gradflow.launch.job import run_job  # seconds of imports, which --help can do without

        run_job(config)

    # Here as well as below, since Hydra prints a line of its own about what leaves this function.
    cli.run(run)


def main() -> None:
    """Let Hydra compose, and call `job` for each job."""
    import hydra

    from gradflow.launch.plugins import register

    register()
    hydra.main(version_base="1.3", config_path="../conf", config_name="train")(job)()


if __name__ == "__main__":
    cli.run(main)
