"""Measure how fast a study is: its jobs one at a time, and as many at a time as there are cores.

Each way launches the same study in a process of its own; they take turns, round by round. The
figures are of the time from the first job's start to the last one's end. Between two jobs that
follow each other lies what a job costs besides its own training: Hydra, folders, W&B's process.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from gradflow.errors import ConfigError
from gradflow.launch.job_process import cores
from gradflow.runs.read import Run, read_runs
from lab.benchmarks.data import spread

TRAIN = Path(__file__).parents[3] / "scripts" / "train.py"
ONE_AT_A_TIME = "one job at a time, all cores"
ONE_THREAD = "one job at a time, one thread"
PARALLEL = "joblib, one job a core"
WAYS = {
    ONE_AT_A_TIME: [],
    ONE_THREAD: ["threads=1"],
    PARALLEL: ["hydra/launcher=joblib"],
}


class Round(NamedTuple):
    """Optimizer steps per second of a study, and the seconds between two jobs that follow."""

    steps: float
    between: float


def launched(words: Sequence[str], jobs: int, steps: int) -> Round:
    """Launch the study once in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        seeds = ",".join(map(str, range(jobs)))
        study = ["-m", f"seed={seeds}", f"steps={steps}", f"hydra.sweep.dir={folder}/study", *words]
        done = subprocess.run(
            [sys.executable, str(TRAIN), *study], capture_output=True, text=True, check=False
        )
        runs = read_runs([Path(folder)])
        if done.returncode or len(runs) != jobs:
            raise ConfigError(f"{' '.join(study)}: {done.stderr.strip().splitlines()[-1:]}")
        ends = [_seconds(run) + run.seconds for run in runs]
        span = max(ends) - min(map(_seconds, runs))
        between = (span - sum(run.seconds for run in runs)) / (jobs - 1)
        return Round(jobs * steps / span, between)


def _seconds(run: Run) -> float:
    return datetime.fromisoformat(run.start).timestamp()


def main(argv: Sequence[str]) -> None:
    """Run the benchmark with command-line arguments `argv`, and print the results."""
    parser = argparse.ArgumentParser(prog="benchmark.py sweep", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=4, help="of the study")
    parser.add_argument("--steps", type=int, default=200, help="of each job")
    parser.add_argument("words", nargs="*", help="overrides, such as model=plain_cnn")
    arguments = parser.parse_args(argv)
    seen: dict[str, list[Round]] = {way: [] for way in WAYS}
    for _ in range(arguments.rounds):
        for way, words in WAYS.items():
            seen[way].append(launched([*words, *arguments.words], arguments.jobs, arguments.steps))
    print(
        f"{arguments.jobs} jobs of {arguments.steps} steps on {cores()} cores, "
        f"n = {arguments.rounds} interleaved rounds: median (range)"
    )
    for way, rounds in seen.items():
        print(way)
        print("  steps per second        ", spread([one.steps for one in rounds], ".1f"))
        for other in (ONE_AT_A_TIME, ONE_THREAD):
            if other != way:
                pairs = zip(rounds, seen[other], strict=True)
                ratio = spread([own.steps / base.steps for own, base in pairs], ".2f")
                print(f"  times {other}:", ratio)
        if way != PARALLEL:
            between = statistics.median(one.between for one in rounds)
            print(f"  seconds between two jobs {between:.2f}")
