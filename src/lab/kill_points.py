"""Interrupt runs at random moments, continue them, and compare them with uninterrupted runs.

A signal comes from outside at a random time of the run: one in five while the run is built, all
others from the first step to the end, be it in a step, while a checkpoint is written, in
validation, or in the test. The run is continued until it is finished. Then everything
that it left behind is compared with the run that nobody interrupted, bit for bit.

Each run is a process of its own, forked from one that has imported everything: a point takes
seconds. That process itself trains nothing, since neither autograd's nor polars' threads survive a
fork.
"""

from __future__ import annotations

import csv
import json
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import torch

from gradflow.gradients.record import read_gradients
from gradflow.launch.compose import compose
from gradflow.runs.files import BEST, LAST, METRICS, STATUS, VERDICT
from gradflow.runs.status import Status
from gradflow.training.checkpoints import LastCheckpoint
from project.config import Config
from project.train import train

SIZE = (
    *("data=synthetic", "data.train_images=420", "data.validation=100", "data.test_images=50"),
    *("data.batch_size=16", "model.width=4", "logger=none", "threads=1", "dry_step=false"),
    *("steps=40", "log_every=4"),
)
NETS = (
    ("model=resnet", "model.depth=8", "activation=rrelu"),
    ("model=plain_cnn", "model.depth=8", "norm=group", "clip=norm"),
    ("model=resnet", "model.depth=8", "optimizer=adamw", "lr=0.01"),
)
SCHEDULES = ("constant", "cosine", "one_cycle", "multistep", "warmup")
PRECISIONS = ("32-true", "bf16-mixed", "64-true")
DDP = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2")
WAYS = ("SIGKILL", "SIGTERM", "SIGINT", "SIGUSR1")
# What decides when a checkpoint is written, which changes no number.
TIMES = (
    "checkpoint.every_minutes=0.003",
    "checkpoint.every_minutes=0.02",
    "checkpoint.every_n_steps=1",
    "checkpoint.every_n_steps=7",
    "checkpoint.every_minutes=null",
)
_SLURM = {
    **{"SLURM_JOB_ID": "77", "SLURM_JOB_NAME": "train", "SLURM_NTASKS": "1"},
    **{"SLURM_NTASKS_PER_NODE": "1", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"},
    "SLURM_NODEID": "0",
}
_MOST_SECONDS = 300.0  # that a run may take


@dataclass(frozen=True)
class Point:
    """One row of the table: how a run was interrupted, and what differs in the continued one."""

    net: str
    schedule: str
    accumulate: int
    precision: str
    processes: int
    checkpoints: str
    signals: str  # in the order in which they came
    resumed_from: str  # the step of each checkpoint; - if there was none
    differs: str  # empty: nothing, bit for bit


def measure(count: int, seed: int, *, processes: int = 1) -> Iterator[Point]:
    """Interrupt and compare `count` runs of `processes` processes, drawn from `seed`."""
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        scontrol = _fake_scontrol(Path(folder))
        each = 5  # points of one configuration
        for number in range(0, count, each):
            turn = number // each
            net, schedule = NETS[turn % len(NETS)], SCHEDULES[turn % len(SCHEDULES)]
            accumulate, precision = 1 + turn % 3, draw.choice(PRECISIONS)
            words = [*SIZE, *net, f"scheduler={schedule}", f"accumulate={accumulate}"]
            words += [f"precision={precision}", f"validate_every={draw.choice((3, 5, 7, 50))}"]
            words += [f"data.validation={draw.choice((100, 100, 0))}", f"seed={number}"]
            words += DDP if processes > 1 else ["trainer=cpu"]
            whole = Path(folder) / f"{number}" / "whole"
            begun = time.monotonic()
            _expect(_in_child(partial(_train, compose(words), whole)), 0)
            seconds = Seconds.of(whole, begun)
            for index in range(min(each, count - number)):
                cut = whole.parent / str(index)
                times = draw.choice(TIMES)
                sent, steps = _interrupt(compose([*words, times]), cut, draw, seconds, scontrol)
                result = whole.parent / f"{index}.json"
                _expect(_in_child(partial(_compare, whole, cut, result)), 0)
                yield Point(
                    " ".join(net),
                    schedule,
                    accumulate,
                    precision,
                    processes,
                    times.partition(".")[2],
                    " ".join(sent),
                    " ".join("-" if step is None else str(step) for step in steps),
                    " ".join(json.loads(result.read_text())),
                )


def write(points: Sequence[Point], path: Path) -> None:
    """Write the points as a CSV file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Point)])
        writer.writeheader()
        writer.writerows(map(asdict, points))


def table(points: Sequence[Point]) -> str:
    """Return how many points are exact, in Markdown, by each of their properties."""
    lines = ["| | points | bit for bit |", "| --- | --- | --- |"]

    def add(name: str, chosen: Sequence[Point]) -> None:
        if chosen:
            exact = sum(not point.differs for point in chosen)
            lines.append(f"| {name} | {len(chosen)} | {exact} |")

    for way in WAYS:
        add(way, [point for point in points if way in point.signals])
    add("two or more signals, one after the other", [p for p in points if " " in p.signals])
    for name in ("net", "schedule", "accumulate", "precision", "processes"):
        for value in sorted({getattr(point, name) for point in points}):
            text = value if name == "net" else f"{name}={value}"
            add(text, [point for point in points if getattr(point, name) == value])
    add("all", points)
    return "\n".join(lines)


@dataclass(frozen=True)
class Seconds:
    """How long an uninterrupted run takes: to be built, and from then on."""

    build: float
    rest: float

    @classmethod
    def of(cls, folder: Path, begun: float) -> Seconds:
        """Read the times of the run in `folder`, which began at `begun` and has just ended."""
        trains = float(_started(folder).read_text())
        return cls(trains - begun, time.monotonic() - trains)


def _interrupt(
    config: Config, folder: Path, draw: random.Random, seconds: Seconds, scontrol: Path
) -> tuple[list[str], list[int | None]]:
    """Interrupt a run once to three times, then let it end. Return the signals and where it was."""
    sent: list[str] = []
    steps: list[int | None] = []
    wanted = draw.choice((1, 1, 2, 3))
    while True:
        way = draw.choice(WAYS) if len(sent) < wanted else None
        early = draw.random() < 0.2
        delay = draw.uniform(0, seconds.build if early else 1.1 * seconds.rest)
        after = None if early else _started(folder)
        _started(folder).unlink(missing_ok=True)
        status = _in_child(partial(_train, config, folder, way == "SIGUSR1"), way, delay, after)
        if status == 0 or way is None:  # it was faster than the signal
            _expect(status, 0)
            if sent:
                return sent, steps
            for path in sorted(folder.rglob("*"), reverse=True):  # once more, from the start
                path.rmdir() if path.is_dir() else path.unlink()
            continue
        number = getattr(signal, way)
        begun = status != -number  # the run had begun to handle signals
        if begun:
            _expect(status, 128 + number)
        sent.append(way)
        steps.append(_step(folder / LAST))
        if (folder / STATUS).exists() and begun:
            state = Status.read(folder)
            if state is None or state.state not in ("interrupted", "finished"):
                raise RuntimeError(f"{folder}: {way} leaves the status {state}")
        requeues = scontrol.read_text().splitlines() if scontrol.exists() else []
        if requeues != ["requeue 77"] * (begun and way == "SIGUSR1") or list(
            folder.rglob("hpc_ckpt*")
        ):
            raise RuntimeError(f"{folder}: {way}: requeues {requeues}")
        scontrol.unlink(missing_ok=True)


def _train(config: Config, folder: Path, on_slurm: bool = False) -> None:
    for name in [name for name in os.environ if name.startswith("SLURM_")]:
        del os.environ[name]
    os.environ.update(_SLURM if on_slurm else {})
    # A shell starts background jobs, and all below them, with SIGINT ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    begin = LastCheckpoint.on_train_start

    def noted(*arguments: Any) -> None:
        begin(*arguments)
        _started(folder).write_text(str(time.monotonic()))

    LastCheckpoint.on_train_start = noted  # type: ignore[method-assign, assignment]
    train(config, folder)


def _started(folder: Path) -> Path:
    """Return the file that says when the run in `folder` began to train."""
    return folder.with_suffix(".started")


def _compare(whole: Path, cut: Path, result: Path) -> None:
    """Write a list of what differs between two finished runs."""
    differs = []
    for name in (LAST, BEST):
        a, b = ((run / name) for run in (whole, cut))
        if a.exists() != b.exists():
            differs.append(name)
        elif a.exists():
            one, other = (torch.load(path, weights_only=True) for path in (a, b))
            parts = one.keys() | other.keys()
            # Callbacks note paths; a best score is also in `best.ckpt`.
            parts -= {"callbacks"} if name == LAST else parts - {"state_dict"}
            differs += [f"{name}:{part}" for part in sorted(parts) if not _same(one, other, part)]
    differs += [
        name
        for name in (METRICS, VERDICT)
        if (whole / name).read_bytes() != (cut / name).read_bytes()
    ]
    if not read_gradients(whole).equals(read_gradients(cut)):
        differs.append("gradients")
    a_status, b_status = Status.read(whole), Status.read(cut)
    assert a_status is not None
    assert b_status is not None
    for key in ("state", "steps", "metrics", "diverged_at"):
        if getattr(a_status, key) != getattr(b_status, key):
            differs.append(key)
    result.write_text(json.dumps(differs))


def _same(one: Any, other: Any, part: str) -> bool:
    return part in one and part in other and _equal(one[part], other[part])


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and torch.equal(one, other)
    if isinstance(one, dict):
        same_keys = isinstance(other, dict) and one.keys() == other.keys()
        return same_keys and all(_equal(value, other[key]) for key, value in one.items())
    if isinstance(one, list | tuple):
        same_length = isinstance(other, list | tuple) and len(one) == len(other)
        return same_length and all(map(_equal, one, other))
    return bool(one == other)


def _step(path: Path) -> int | None:
    if not path.exists():
        return None
    step: int = torch.load(path, weights_only=True)["global_step"]
    return step


def _in_child(
    work: Callable[[], None],
    way: str | None = None,
    delay: float = 0.0,
    after: Path | None = None,
) -> int:
    """Do `work` in a process of its own; return its exit status, negative if a signal killed it.

    `way` is a signal that it gets after `delay` seconds, which begin once `after` exists. SIGKILL
    and SIGINT go to all its processes, as from a terminal or a machine that fails.
    """
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        os.setpgid(0, 0)
        _child(work)
    limit = time.monotonic() + _MOST_SECONDS
    due = None if way is None or after is not None else time.monotonic() + delay
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        now = time.monotonic()
        if done:
            return os.waitstatus_to_exitcode(status)
        if now > limit:
            os.killpg(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise RuntimeError(f"a run is not over {_MOST_SECONDS:.0f} s after it began")
        if due is None and after is not None and after.exists():
            due, after = now + delay, None
        if way is not None and due is not None and now > due:
            send = os.killpg if way in ("SIGKILL", "SIGINT") else os.kill
            send(pid, getattr(signal, way))
            way = None
        time.sleep(0.002)


def _child(work: Callable[[], None]) -> NoReturn:
    """Do `work` and leave, without the parent's own ends."""
    status = 0
    try:
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), 1)
        work()
    except KeyboardInterrupt:
        status = 130
    except SystemExit as stop:
        status = int(stop.code or 0)
    except BaseException:
        traceback.print_exc()
        status = 1
    finally:
        os._exit(status)


def _expect(status: int, expected: int) -> None:
    if status != expected:
        raise RuntimeError(f"a run ended with status {status}, not {expected}")


def _fake_scontrol(folder: Path) -> Path:
    """Put a scontrol on the PATH that writes down how it is called; return that file."""
    program = folder / "scontrol"
    program.write_text(f'#!/bin/sh\necho "$@" >> "{folder}/calls"\n')
    program.chmod(0o755)
    os.environ["PATH"] = f"{folder}{os.pathsep}{os.environ['PATH']}"
    return folder / "calls"
