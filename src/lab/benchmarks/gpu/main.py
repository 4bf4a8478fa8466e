"""Measure everything that needs an NVIDIA GPU, in 8 minutes: `make gpu`.

It runs the tests marked `gpu`, counts how often the host waits, times the monitor and the template,
trains in mixed precision, captures CUDA graphs and compiles. Without a GPU it ends with one line.
The time to 94 % accuracy is not measured here: it needs whole trainings.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import torch
from rich.console import Console

from gradflow.errors import ConfigError
from gradflow.training.process import quieten
from lab.benchmarks.gpu import capture, marked, precision, speed, waits
from lab.benchmarks.gpu.figure import Figure, print_table, unmeasured, write
from lab.benchmarks.gpu.scale import Scale

MINUTES = 8
Parts = dict[str, Callable[[], list[Figure]]]


def parts(scale: Scale, overhead_seconds: float = 75) -> Parts:
    """Return what is measured, in this order: the slowest, which compiles, comes last."""
    # The bare loop needs no more rounds than five: it has whole runs of its own.
    few = scale._replace(rounds=min(scale.rounds, 5))
    return {
        "waits": partial(waits.measure, scale),
        "capture": partial(capture.measure_capture, scale),
        "mixed precision": partial(precision.measure, scale),
        "overhead, fp32": partial(speed.measure_overhead, scale, "32-true", overhead_seconds),
        "overhead, bf16": partial(speed.measure_overhead, scale, "bf16-mixed", overhead_seconds),
        "template": partial(speed.measure_template, few),
        "compile": partial(capture.measure_compiled, scale),
    }


def run_parts(chosen: Parts, until: float) -> Iterator[list[Figure]]:
    """Yield the figures of each part; one that fails is a figure too, with its error's last line.

    A part that would begin after `until`, in seconds of `time.perf_counter`, is left out.
    """
    for name, part in chosen.items():
        if time.perf_counter() > until:
            yield [unmeasured(name, "all", "the time was over")]
            continue
        try:
            yield part()
        except Exception as error:  # the other parts can still be measured
            traceback.print_exc()
            note = f"{type(error).__name__}: {error}".splitlines()[0]
            yield [Figure(name, "all", "failed", wanted="done", note=note)]


def describe(device: torch.device) -> str:
    """Return one line on the machine and the versions."""
    name = platform.processor() or "CPU"
    if device.type == "cuda":
        found = torch.cuda.get_device_properties(device)
        name = f"{found.name}, compute capability {found.major}.{found.minor}"
        name += f", {found.total_memory / 2**30:.0f} GiB"
    cudnn = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
    return (
        f"{name}; {os.cpu_count()} CPU cores; torch {torch.__version__}, CUDA "
        f"{torch.version.cuda}, cuDNN {cudnn}, Python {platform.python_version()}; "
        f"{time.strftime('%Y-%m-%d %H:%M')}"
    )


def main(argv: Sequence[str]) -> None:
    """Measure everything, print the table and write it; exit with 1 if a part or a test fails."""
    parser = argparse.ArgumentParser(prog="benchmark.py gpu", description=__doc__)
    parser.add_argument("--rounds", type=int, default=10, help="of each figure that is timed")
    parser.add_argument("--out", type=Path, default=Path("outputs/gpu"), help="folder of the table")
    given = parser.parse_args(argv)
    if not torch.cuda.is_available():
        raise ConfigError(f"gpu: torch {torch.__version__} finds no CUDA device on this machine")
    until = time.perf_counter() + (MINUTES - 2) * 60  # the last part may take two minutes
    quieten()
    scale = Scale(torch.device("cuda", 0), rounds=given.rounds)
    machine = describe(scale.device)
    figures: list[Figure] = []
    for found in run_parts({"tests": marked.measure, **parts(scale)}, until):
        figures += found
        write(figures, machine, given.out)  # a crash keeps what is known
    console = Console()
    console.print(machine, markup=False)
    print_table(figures, console)
    console.print(f"written to {given.out}/gpu.md and gpu.json", markup=False)
    if any(figure.value == "failed" for figure in figures):
        raise SystemExit(1)
