"""A small study made by hand, whose gradients hold everything that a record can hold."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from hand_made import COMPARED

from gradflow.gradients.histogram import measure
from gradflow.gradients.record import Entry, RecordWriter
from gradflow.gradients.verdict import Verdict
from gradflow.runs.status import Status

LAYERS = ("stem.activation", "block.activation", "head")
TENSORS = ("stem.weight", "block.weight", "head.weight")
STEPS = (0, 10, 20, 25)
REMEDIES = ("none", "relu", "clip")
SEEDS = (0, 1)
# On the validation split, by remedy, depth and seed: the study of `a_depth_study`.
ACCURACY = {
    (remedy, depth, seed): accuracy
    for remedy, by_depth in {
        "none": {8: (0.13, 0.11, 0.14), 20: (0.12, 0.10, 0.11), 56: (0.10, 0.11, 0.09)},
        "relu": {8: (0.41, 0.38, 0.44), 20: (0.31, 0.33, 0.26), 56: (0.12, 0.11, 0.13)},
    }.items()
    for depth, accuracies in by_depth.items()
    for seed, accuracy in enumerate(accuracies)
}


def a_study(folder: Path, remedies: tuple[str, ...] = REMEDIES) -> Path:
    """Write a study: each remedy with two seeds, one folder per run."""
    for place, remedy in enumerate(remedies):
        for seed in SEEDS:
            name = f"remedy={remedy},seed={seed}"
            start = f"2026-01-01T00:{place:02d}:{seed:02d}+00:00"
            a_page_run(folder / name, remedy, seed, scale=10.0**-place, start=start)
    return folder


def a_depth_study(folder: Path) -> Path:
    """Write a study of 2 remedies x 3 depths x 3 seeds that names remedy=none as its baseline."""
    baseline = {"comparison": COMPARED["comparison"] | {"baseline": {"remedy": "none"}}}
    for place, (remedy, depth, seed) in enumerate(ACCURACY):
        a_page_run(
            folder / f"model.depth={depth},remedy={remedy},seed={seed}",
            remedy,
            seed,
            start=f"2026-01-01T00:00:{place:02d}+00:00",
            accuracy=ACCURACY[remedy, depth, seed],
            config={"model": {"depth": depth}, **baseline},
        )
    return folder


def a_page_run(
    folder: Path,
    remedy: str,
    seed: int,
    *,
    scale: float = 1.0,
    state: Any = "finished",
    accuracy: float = 0.25,
    config: Mapping[str, Any] = COMPARED,
    **status: Any,
) -> Path:
    """Write a run's folder with configuration, status, verdict, metrics and record."""
    folder.mkdir(parents=True)
    settings = {"seed": seed, "lr": 0.1, "axes": {"pathology": "vanishing", "remedy": remedy}}
    (folder / "config.yaml").write_text(yaml.safe_dump({**settings, **config}, sort_keys=False))
    metrics = {"train/accuracy": 0.3, "validation/accuracy": accuracy}
    Status(state, metrics=metrics, wandb_id="abc123", **status).write(folder)
    Verdict("vanishing", "dL/dz shrinks", 0.9, 25, "stem", ("remedy=relu",)).write(folder)
    rows = [f"{step},0,{2.3 - scale * step / 100 - seed / 50}" for step in STEPS]
    (folder / "metrics.csv").write_text("\n".join(["step,epoch,train/loss", *rows]) + "\n")
    a_record(folder, scale, seed)
    return folder


def a_record(folder: Path, scale: float, seed: int) -> None:
    """Write gradients of many sizes; some are 0, subnormal, NaN or Inf, different in each step."""
    generator = torch.Generator().manual_seed(seed)
    writer = RecordWriter(folder, 0)
    for step in STEPS:
        tensors = []
        for place, _ in enumerate(TENSORS):
            x = torch.randn(500 + 100 * place, generator=generator) * scale * 2.0**-step
            x[: step + place] = 0.0
            x[100 : 100 + place] = 1e-40
            x[200 : 200 + step // 10] = math.nan
            x[300 : 300 + step // 20] = math.inf
            tensors.append(x)
        entries = [Entry(name, i, len(tensors[i])) for i, name in enumerate(TENSORS)]
        writer.append(step, "gradient", entries, vars(measure(tensors)))
        layers = [Entry(name, i, 40) for i, name in enumerate(LAYERS)]
        # Exactly 0 in the first layer at step 25; NaN in the second layer at step 20.
        rms = [0.0 if step == 25 else scale * 1e-6, math.nan if step == 20 else scale * 1e-3, 0.02]
        rms = [value * (1 + step / 7) for value in rms]
        writer.append(step, "pre_activation_gradient", layers, {"rms": rms})
        writer.append(step, "pre_activation", layers, {"rms": [1.0, 0.5, 0.25 + step]})
    writer.flush()
