"""Measure the template's training step against a bare PyTorch loop: same net, same batches.

The two alternate, and both clip by norm. The template's side also logs through Lightning, as a run
does. The gradient monitor is off; `gradients.py` measures its cost. On a CPU the time is CPU time,
of one thread; on an accelerator it is wall time, with the device's queue empty at both ends.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import nn
from torch.nn import functional as F

from gradflow.launch.compose import compose
from gradflow.training.process import quieten
from lab.benchmarks.clock import seconds
from project.build import build_data, build_task, build_trainer
from project.config import Config
from project.data.batches import Batches

_WARM_UP = 5  # steps of each round before its clock starts

CASES = {
    "ResNet-20, batch 128": (["model.depth=20", "data.batch_size=128"], 15),
    "tiny net, batch 16": (["model.depth=8", "model.width=4", "data.batch_size=16"], 300),
}


class _Clock(L.Callback):
    """Measure seconds from the end of the warm-up to the end of training."""

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
        if trainer.global_step == _WARM_UP:
            self.start = seconds(trainer.strategy.root_device)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.seconds = seconds(trainer.strategy.root_device) - self.start


def template_seconds(config: Config, batches: Batches) -> float:
    """Return seconds of a step in Lightning, as `gradflow.training` sets it up."""
    torch.manual_seed(0)
    classifier = build_task(config, build_data(config))
    with tempfile.TemporaryDirectory() as folder:
        trainer = build_trainer(config, Path(folder), "", validates=False)
        # No checkpoint is written while the clock runs: a bare loop writes none either.
        clock = _Clock()
        set_up = trainer.callbacks  # type: ignore[attr-defined]
        kept = [c for c in set_up if "Checkpoint" not in type(c).__name__]
        trainer.callbacks = [*kept, clock]  # type: ignore[attr-defined]
        trainer.fit(classifier, batches)
    return clock.seconds / (config.steps - _WARM_UP)


def bare_seconds(config: Config, batches: Batches, device: torch.device) -> float:
    """Return seconds of a step in a loop of a dozen lines."""
    torch.manual_seed(0)
    classifier = build_task(config, build_data(config))
    net: nn.Module = classifier.net.to(device)
    setup: Any = classifier.configure_optimizers()
    optimizer, scheduler = setup["optimizer"], setup["lr_scheduler"]["scheduler"]
    net.train()
    start, step = 0.0, 0
    while step < config.steps:
        for images, labels in batches:
            optimizer.zero_grad()
            F.cross_entropy(net(images), labels).backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            scheduler.step()
            step += 1
            if step == _WARM_UP:
                start = seconds(device)
            if step == config.steps:
                break
    return (seconds(device) - start) / (config.steps - _WARM_UP)


def measure(
    overrides: Sequence[str], steps: int, rounds: int, device: torch.device
) -> list[tuple[float, float]]:
    """Return ms a step, of the template and of the bare loop, for each round."""
    common = ["data=synthetic", "clip=norm", "logger=none", "monitor=none"]
    common += [f"trainer={'cpu' if device.type == 'cpu' else 'gpu'}", "validate_every=1000000"]
    config = compose([*common, *overrides, f"steps={steps + _WARM_UP}"])
    data = build_data(config)
    pairs = []
    for number in range(rounds):
        batches = data.train_dataloader().to(device)
        sides = {
            "template": lambda: template_seconds(config, batches),  # noqa: B023 — called at once
            "bare": lambda: bare_seconds(config, batches, device),  # noqa: B023
        }
        order = sorted(sides, reverse=bool(number % 2))  # neither side always goes first
        took = {side: sides[side]() * 1e3 for side in order}
        pairs.append((took["template"], took["bare"]))
    return pairs


def main(argv: Sequence[str]) -> None:
    """Print, for each net, milliseconds a step on both sides, their ratio and their difference."""
    parser = argparse.ArgumentParser(prog="benchmark.py step", description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    rounds: int = parser.parse_args(argv).rounds
    torch.set_num_threads(1)
    quieten()
    for title, (overrides, steps) in CASES.items():
        pairs = measure(overrides, steps, rounds, torch.device("cpu"))
        template, bare = (statistics.median(column) for column in zip(*pairs, strict=True))
        ratios = sorted(a / b for a, b in pairs)
        differences = sorted(a - b for a, b in pairs)
        print(f"{title}: {rounds} rounds of {steps} steps, one thread, CPU time")
        print(f"  template {template:9.3f} ms a step   bare loop {bare:9.3f} ms a step (medians)")
        print(f"  ratio      median {statistics.median(ratios):.4f}   {_spread(ratios)}")
        print(
            f"  difference median {statistics.median(differences):.3f} ms   {_spread(differences)}"
        )


def _spread(values: list[float]) -> str:
    return f"from {values[0]:.4f} to {values[-1]:.4f}"
