"""A study of any number of runs, with files as large as a real run of twenty layers leaves."""

from __future__ import annotations

import math
import random
import shutil
from pathlib import Path
from typing import Any

import torch
import yaml
from hand_made import COMPARED

from gradflow.gradients.histogram import measure
from gradflow.gradients.record import Entry, RecordWriter
from gradflow.gradients.verdict import Verdict
from gradflow.runs.status import Status

LAYERS, RECORDS, ROWS = 20, 21, 60
NORMS, ACTIVATIONS, LRS = ("none", "batch"), ("relu", "tanh", "gelu", "silu", "selu"), 20
SEEDS = 5  # 2 x 5 x 20 x 5 = 1000


def a_large_study(folder: Path, runs: int) -> Path:
    """Write `runs` runs below `folder`: each seed of each configuration with curves of its own."""
    record = folder / "record"
    record.mkdir(parents=True)
    _record(record)
    for index in range(runs):
        seed, rest = index % SEEDS, index // SEEDS
        lr, rest = rest % LRS, rest // LRS
        axes = {
            "activation": ACTIVATIONS[rest % len(ACTIVATIONS)],
            "norm": NORMS[rest // len(ACTIVATIONS) % len(NORMS)],
        }
        words = [*(f"{axis}={choice}" for axis, choice in axes.items()), f"lr={0.001 * (lr + 1):g}"]
        run = folder / ",".join([*words, f"seed={seed}"])
        shutil.copytree(record, run)
        _files(run, [*words, f"seed={seed}"], axes, 0.001 * (lr + 1), seed, index)
    shutil.rmtree(record)
    return folder


def _files(
    run: Path, overrides: list[str], axes: dict[str, str], lr: float, seed: int, index: int
) -> None:
    draw = random.Random(index)
    logger = {"mode": "offline", "project": "large", "entity": None}
    config: dict[str, Any] = {"seed": seed, "lr": lr, "axes": axes, "study": {"name": "large"}}
    config["logger"] = logger
    config |= {axis: {"_target_": f"torch.nn.{choice}"} for axis, choice in axes.items()}
    config |= {f"key_{n}": {"a": n, "b": [n, str(n)], "text": "x" * 20} for n in range(60)}
    (run / "config.yaml").write_text(yaml.safe_dump(config | COMPARED, sort_keys=False))
    (run / ".hydra").mkdir()
    (run / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump(overrides))
    names = [
        f"{split}/{name}" for split in ("train", "validation") for name in ("loss", "accuracy")
    ]
    names += ["lr", "gradient_norm/total_before_clipping"]
    lines = [
        ",".join([str(20 * n), "0", *(f"{draw.random() * math.exp(-n / 30):.7f}" for _ in names)])
        for n in range(ROWS)
    ]
    (run / "metrics.csv").write_text("\n".join([",".join(["step", "epoch", *names]), *lines, ""]))
    metrics = {name: draw.random() for name in names}
    start = f"2026-01-01T{index // 3600:02d}:{index // 60 % 60:02d}:{index % 60:02d}+00:00"
    status = {
        "host": "host",
        "git": {"commit": "c" * 40, "dirty": False},
        "versions": {"torch": "2"},
    }
    Status("finished", start=start, seconds=60.0, metrics=metrics, wandb_id="a", **status).write(
        run
    )
    Verdict("healthy", "the loss has fallen", 0.9, 1000, None, ("norm=batch",)).write(run)


def _record(folder: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    writer = RecordWriter(folder, 0)
    for step in range(0, 50 * RECORDS, 50):
        scales = [2.0 ** (-layer / 2 - step / 200) for layer in range(LAYERS)]
        tensors = [torch.randn(2000, generator=generator) * scale for scale in scales]
        parameters = [Entry(f"stages.{n}.conv.weight", n, 2000, 4) for n in range(LAYERS)]
        writer.append(step, "gradient", parameters, vars(measure(tensors)))
        layers = [Entry(f"stages.{n}.activation", n, 2000) for n in range(LAYERS)]
        writer.append(step, "pre_activation_gradient", layers, {"rms": scales})
        writer.append(step, "pre_activation", layers, {"rms": scales[::-1]})
    writer.flush()
