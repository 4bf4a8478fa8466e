"""Count how often the host waits for the device, in steps with a record and in ordinary steps.

Two counters that know nothing of each other: the warnings of torch's synchronization debug mode,
and the calls that the CUDA profiler sees. The same run without a monitor is subtracted, step by
step, since logging and the AMP scaler wait too. The first steps are left out: there the monitor
computes what it needs once.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections import Counter
from typing import Any

import lightning as L
import torch
from torch.profiler import ProfilerActivity, profile

from lab.benchmarks.gpu.figure import Figure, unmeasured
from lab.benchmarks.gpu.run import train
from lab.benchmarks.gpu.scale import Scale

PART = "waits"
_FIRST = 3  # step that counts
_MESSAGE = "called a synchronizing"  # setting the mode warns too, in other words
_CPU = "a CPU has nothing to wait for"

WARNINGS = "by torch's warnings"
SYNCHRONIZE, TO_HOST = "synchronizing calls, by the profiler", "copies to the host, by the profiler"


class Counting(L.Callback, ABC):
    """Count by the step; a step ends where the next one begins."""

    def __init__(self) -> None:
        self.steps: list[Counter[str]] = []

    def on_train_batch_start(self, trainer: L.Trainer, *args: Any) -> None:
        """End the count of the step before, and begin that of this one."""
        self._end_step(trainer)
        if trainer.strategy.root_device.type == "cuda":
            self.begin()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """End the count of the last step."""
        self._end_step(trainer)

    def on_exception(self, trainer: L.Trainer, *args: Any) -> None:
        """Leave torch as it was."""
        self._end_step(trainer)

    def _end_step(self, trainer: L.Trainer) -> None:
        if trainer.strategy.root_device.type == "cuda" and (found := self.end()) is not None:
            self.steps.append(found)

    @abstractmethod
    def begin(self) -> None:
        """Begin to count."""

    @abstractmethod
    def end(self) -> Counter[str] | None:
        """Return what was counted; None if nothing was begun."""


class ByWarnings(Counting):
    """Count the warnings of `torch.cuda.set_sync_debug_mode`."""

    names = (WARNINGS,)
    _catching: warnings.catch_warnings[Any] | None = None

    def begin(self) -> None:
        """Have torch warn."""
        self._catching = warnings.catch_warnings(record=True)
        self._caught = self._catching.__enter__()
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")

    def end(self) -> Counter[str] | None:
        """Count the warnings."""
        if self._catching is None:
            return None
        torch.cuda.set_sync_debug_mode("default")
        self._catching.__exit__(None, None, None)
        self._catching = None
        return Counter(WARNINGS for found in self._caught if _MESSAGE in str(found.message))


class ByProfiler(Counting):
    """Count calls of the CUDA runtime, and copies from the device to the host."""

    names = (SYNCHRONIZE, TO_HOST)
    _profile: profile | None = None

    def begin(self) -> None:
        """Start the profiler."""
        self._profile = profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA])
        self._profile.start()

    def end(self) -> Counter[str] | None:
        """Stop the profiler, and count."""
        if self._profile is None:
            return None
        self._profile.stop()
        names = [event.name for event in self._profile.events() or ()]  # type: ignore[no-untyped-call]
        self._profile = None
        return count_calls(names)


def count_calls(names: list[str]) -> Counter[str]:
    """Count, among the names of a profiler's events, those that make the host wait."""
    return Counter(
        {
            SYNCHRONIZE: sum(n.startswith("cuda") and n.endswith("Synchronize") for n in names),
            TO_HOST: sum(n.startswith("Memcpy DtoH") for n in names),
        }
    )


def compared(
    name: str, watched: list[Counter[str]], bare: list[Counter[str]], recorded: set[int]
) -> tuple[list[int], list[int]]:
    """Return the monitor's own counts in recorded steps, and in ordinary ones."""
    pairs = list(zip(watched, bare, strict=True))[_FIRST:]
    own = {step: own[name] - other[name] for step, (own, other) in enumerate(pairs, _FIRST)}
    with_record = [count for step, count in own.items() if step in recorded]
    return with_record, [count for step, count in own.items() if step not in recorded]


def measure(scale: Scale) -> list[Figure]:
    """Count in fp32 with both counters, and with the AMP scaler by warnings."""
    figures = []
    cases: list[tuple[type[ByWarnings] | type[ByProfiler], str]] = [
        (ByWarnings, "32-true"),
        (ByProfiler, "32-true"),
    ]
    if scale.device.type == "cuda":  # the template refuses fp16 on a CPU
        cases.append((ByWarnings, "16-mixed"))
    for kind, precision in cases:
        watched, bare = kind(), kind()
        options = f"precision={precision}"
        trained = train(scale, options, "monitor.every_n_steps=5", callbacks=(watched,))
        train(scale, options, "monitor=none", callbacks=(bare,))
        assert trained.monitor is not None
        recorded = {flow.step for flow in trained.monitor.flows}
        for name in kind.names:
            own = compared(name, watched.steps, bare.steps, recorded)
            for what, found, goal in zip(("record", "ordinary step"), own, (1, 0), strict=True):
                title = f"{precision}, {what}: {name}"
                figures.append(_worst(title, found, goal, scale))
    return figures


def _worst(title: str, found: list[int], goal: int, scale: Scale) -> Figure:
    if not found:
        why = "there was no such step" if scale.device.type == "cuda" else _CPU
        return unmeasured(PART, title, why, goal)
    note = "the largest count of a step, beyond the run without a monitor"
    return Figure(PART, title, max(found), "", min(found), max(found), len(found), goal, note=note)
