"""Measure what watching costs: runs without, with the gradient monitor, and with wandb.watch.

Five runs of one net train in one process, each with a user's offline W&B logger. They take turns of
a few steps, so that a busy neighbour slows all alike. Checkpoints, validation and the progress line
are off. The benchmark measures the CPU time of this process with all its threads, and wall time.
W&B's own process, which writes its files, is measured separately.

wandb.watch writes its histograms with the next log call. Here that call comes in the same step;
otherwise most histograms would be overwritten before they are written.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import platform
import statistics
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import torch
import wandb
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.loggers import WandbLogger
from rich.console import Console
from rich.table import Table

from gradflow.gradients.monitor import GradientMonitor
from gradflow.gradients.record import FOLDER
from gradflow.launch.compose import compose
from gradflow.runs.status import Status
from gradflow.runs.wandb_run import finish_run, start_run
from gradflow.training.process import keep_freed_memory, quieten
from gradflow.training.progress import Progress
from lab.benchmarks.clock import synchronize
from lab.benchmarks.service import settled_cpu_seconds
from project.build import build_data, build_task, build_trainer
from project.config import Config


class Case(NamedTuple):
    """A net, the steps of one turn, and the turns that make a round."""

    title: str
    overrides: list[str]
    turn: int
    turns: int


CASES = {
    "resnet": Case(
        "ResNet-20, batch 128", ["trainer=cpu", "model.depth=20", "data.batch_size=128"], 10, 1
    ),
    "narrow": Case(
        "plain net of 20 layers, width 16, sigmoid, batch 64",
        ["trainer=cpu", "pathology=vanishing", "data.batch_size=64"],
        20,
        1,
    ),
}


class Cost(NamedTuple):
    """Seconds: CPU time of this process, wall time, CPU time of W&B's process."""

    cpu: float
    wall: float
    service: float


class _Turns(L.Callback):
    """Pause training until `take` asks for some steps."""

    def __init__(self) -> None:
        self._may_go, self._has_stopped = threading.Semaphore(0), threading.Semaphore(0)
        self._left = 0
        self._error: BaseException | None = None

    def start(self, trainer: L.Trainer, *arguments: Any) -> None:
        """Start training in a thread of its own, up to its first step."""

        def fit() -> None:
            try:
                trainer.fit(*arguments)
            except BaseException as error:
                self._error = error
            finally:
                self._has_stopped.release()

        threading.Thread(target=fit, daemon=True).start()
        self._await()

    def take(self, steps: int) -> None:
        """Train for `steps` steps; after the last step of the run, wait for its end."""
        self._left = steps
        self._may_go.release()
        self._await()

    def _await(self) -> None:
        self._has_stopped.acquire()
        if self._error is not None:
            raise self._error

    def _stop(self) -> None:
        self._has_stopped.release()
        self._may_go.acquire()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._stop()

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any, **more: Any) -> None:
        self._left -= 1
        if not self._left and trainer.global_step < trainer.max_steps:
            self._stop()


class _WriteWatched(L.Callback):
    """Make the log call with which W&B writes the histograms of wandb.watch."""

    def __init__(self, logger: WandbLogger, every: int) -> None:
        self._logger, self._every = logger, every

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any, **more: Any) -> None:
        if trainer.global_step % self._every == 0:
            self._logger.log_metrics({}, step=trainer.global_step)


@dataclass
class Watched:
    """One of the runs, watched by `by` every `every` steps, or by nothing.

    With `every=0` the monitor keeps the schedule of conf/monitor.
    """

    by: str = ""  # "monitor" or "wandb.watch"
    every: int = 1
    rounds: list[Cost] = field(default_factory=list)

    def start(self, case: Case, folder: Path, steps: int) -> None:
        """Build the run, and train up to its first step."""
        self.folder = folder
        folder.mkdir()
        monitor = [f"monitor.every_n_steps={self.every}"] if self.every else []
        config = compose(
            [
                *("data=synthetic", f"steps={steps}", "validate_every=1000000"),
                *case.overrides,
                *(monitor if self.by == "monitor" else ["monitor=none"]),
            ]
        )
        self.run = _wandb_run(config, folder)
        logger = WandbLogger(experiment=self.run)
        torch.manual_seed(0)
        data = build_data(config)
        classifier = build_task(config, data)
        trainer = build_trainer(config, folder, "", validates=False)
        self.device, self.trainer = trainer.strategy.root_device, trainer
        trainer.loggers = [*trainer.loggers, logger]
        self.turns = _Turns()
        self.callbacks = [
            callback
            for callback in trainer.callbacks  # type: ignore[attr-defined]
            if not isinstance(callback, Checkpoint | Progress)
        ]
        if self.by == "wandb.watch":
            logger.watch(classifier, log="gradients", log_freq=self.every, log_graph=False)
            self.callbacks.append(_WriteWatched(logger, self.every))
        trainer.callbacks = [*self.callbacks, self.turns]  # type: ignore[attr-defined]
        self.turns.start(trainer, classifier, data.train_dataloader().to(self.device))

    def take(self, steps: int) -> Cost:
        """Train for one turn, and return its cost."""
        wandb.run = self.run  # the hooks of wandb.watch log to it
        synchronize(self.device)
        service, cpu, wall = settled_cpu_seconds(), time.process_time(), time.perf_counter()
        self.turns.take(steps)
        synchronize(self.device)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        return Cost(cpu, wall, settled_cpu_seconds() - service)

    def finish(self) -> None:
        """Train the last step, unless rounds were left out, and close the files."""
        if self.trainer.global_step < self.trainer.max_steps - 1:
            self.trainer.should_stop = True
        self.take(1)
        finish_run(self.run, failed=False)

    def bytes_per_record(self, records: int) -> float:
        """Return the size of gradients.parquet/, per record."""
        parts = (self.folder / FOLDER).glob("*.parquet")
        monitors = [c for c in self.callbacks if isinstance(c, GradientMonitor)]
        assert all(len(monitor.flows) == records for monitor in monitors)
        return sum(part.stat().st_size for part in parts) / records

    def wandb_bytes(self) -> int:
        """Return the size of the .wandb file."""
        return sum(path.stat().st_size for path in self.folder.glob("wandb/*run-*/*.wandb"))

    def __str__(self) -> str:
        """Return its name in the table."""
        if not self.by:
            return "no monitor"
        if not self.every:
            return f"{self.by}, default schedule"
        return f"{self.by}, every step" if self.every == 1 else f"{self.by}, every {self.every}"


def _wandb_run(config: Config, folder: Path) -> Any:
    return start_run("offline", config, folder, folder.name, Status("running"))


def measure(case: Case, threads: int, rounds: int, cadence: int, folder: Path) -> list[Watched]:
    """Train all the runs, in turns, for `rounds` rounds after one turn of warm-up."""
    torch.set_num_threads(threads)
    runs = [
        Watched(),
        *(Watched("monitor", every) for every in (1, cadence)),
        *(Watched("wandb.watch", every) for every in (1, cadence)),
    ]
    steps = (1 + rounds * case.turns) * case.turn + 1  # the last one is recorded at any cadence
    for number, run in enumerate(runs):
        run.start(case, folder / str(number), steps)
        run.take(case.turn)
    for number_of_round in range(rounds):
        turns: dict[int, list[Cost]] = {number: [] for number in range(len(runs))}
        for turn in range(case.turns):
            for place in range(len(runs)):
                number = (place + turn + number_of_round) % len(runs)  # no run is always first
                turns[number].append(runs[number].take(case.turn))
        for number, run in enumerate(runs):
            run.rounds.append(Cost(*map(sum, zip(*turns[number], strict=True))))
    for run in runs:
        run.finish()
    return runs


def report(case: Case, runs: list[Watched]) -> tuple[Table, list[str]]:
    """Return the table of the measurements, and the conclusions."""
    base = runs[0]
    rounds, steps = len(base.rounds), case.turn * case.turns
    columns = ["", "CPU ms\na step", "CPU, times\nno monitor", "same, all\nrounds as one"]
    columns += ["wall, times\nno monitor", "CPU ms\na record", "W&B process,\nCPU ms a record"]
    columns += ["gradients.parquet\nkB a record", ".wandb\nkB a record"]
    table = Table(*columns, show_lines=True)
    for column in table.columns[1:]:
        column.justify = "right"
    per_record: dict[tuple[str, int], float] = {}
    step_ms = statistics.median(cost.cpu for cost in base.rounds) / steps * 1e3
    for run in runs:
        own_step_ms = statistics.median(cost.cpu for cost in run.rounds) / steps * 1e3
        cells = [str(run), f"{own_step_ms:.2f}"]
        if run is not base:
            pairs = list(zip(run.rounds, base.rounds, strict=True))
            cells.append(_spread([own.cpu / other.cpu for own, other in pairs], 3))
            total, base_total = (sum(cost.cpu for cost in r.rounds) for r in (run, base))
            cells.append(f"{total / base_total:.4f}")
            cells.append(_spread([own.wall / other.wall for own, other in pairs], 3))
            ms = 1e3 * run.every / steps
            cells.append(_spread([(own.cpu - other.cpu) * ms for own, other in pairs], 2))
            services = (sum(cost.service for cost in r.rounds) for r in (run, base))
            service_ms = (next(services) - next(services)) * ms / rounds
            cells.append(f"{service_ms:.1f}")
            per_record[run.by, run.every] = (total - base_total) * ms / rounds
            written = -(-(case.turn + rounds * steps + 1) // run.every)  # rounded up, with step 0
            own_kb = run.bytes_per_record(written) / 1e3 if run.by == "monitor" else 0.0
            cells.append(f"{own_kb:.1f}" if own_kb else "")
            cells.append(f"{(run.wandb_bytes() - base.wandb_bytes()) / 1e3 / written:.1f}")
        table.add_row(*cells)
    cadence = max(run.every for run in runs)
    own, other = per_record["monitor", 1], per_record["wandb.watch", 1]
    # Cost per step = fixed + cost per record / cadence, a line through the two measured cadences.
    sparse = per_record["monitor", cadence] / cadence
    ms_a_record = (own - sparse) / (1 - 1 / cadence)
    fixed, allowed = own - ms_a_record, 0.005 * step_ms
    meets = (
        f"1.005 is met from one every {ms_a_record / (allowed - fixed):.0f} steps on"
        if fixed < allowed
        else "1.005 is met at no cadence"
    )
    return table, [
        f"With a record every step the monitor costs {own:.2f} ms of CPU a record, wandb.watch "
        f"{other:.2f} ms: {own / other:.3f} of it.",
        f"A line through the monitor's two cadences: {ms_a_record:.2f} ms a record and {fixed:.2f} "
        f"ms a step, recorded or not; by it {meets}.",
    ]


def _spread(values: Sequence[float], digits: int) -> str:
    """Format the median of `values`, and below it their range."""
    low, high = min(values), max(values)
    return f"{statistics.median(values):.{digits}f}\n{low:.{digits}f} to {high:.{digits}f}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((x.partition(": ")[2] for x in lines if x.startswith("model name")), "unknown")


def main(argv: Sequence[str]) -> None:
    """Run the benchmark with command-line arguments `argv`, and print a table for each case."""
    parser = argparse.ArgumentParser(prog="benchmark.py gradients", description=__doc__)
    parser.add_argument("--rounds", type=int, default=10, help="10 or more for a figure to quote")
    parser.add_argument("--threads", default="1,2", help="numbers of threads, with commas")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    given = parser.parse_args(argv)
    quieten()
    keep_freed_memory()
    if platform.libc_ver()[0] == "glibc":
        # All threads use the main arena, since keep_freed_memory affects only that one.
        ctypes.CDLL(None).mallopt(-8, 1)  # M_ARENA_MAX, from glibc's malloc.h
    cadence = 10  # a line through two cadences gives the cost of a record at any other

    console = Console()
    console.width = max(console.width, 170)  # so that no line is cut in a file
    console.print(f"{_processor()}, {os.cpu_count()} cores, torch {torch.__version__}")
    for name in given.cases:
        case = CASES[name]
        for threads in map(int, given.threads.split(",")):
            with tempfile.TemporaryDirectory() as folder:
                runs = measure(case, threads, given.rounds, cadence, Path(folder))
                table, conclusions = report(case, runs)
            console.print(
                f"\n{case.title}, {threads} thread{'s' * (threads > 1)}: n = {given.rounds} rounds "
                f"of {case.turn * case.turns} steps, median and range; "
                f"load {os.getloadavg()[0]:.1f}"
            )
            console.print(table)
            for line in conclusions:
                console.print(line)
