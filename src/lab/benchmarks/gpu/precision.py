"""Train with automatic mixed precision, watched, and look whether all gradients stay finite."""

from __future__ import annotations

import math

import torch

from lab.benchmarks.gpu.figure import Figure, unmeasured
from lab.benchmarks.gpu.run import Trained, train
from lab.benchmarks.gpu.scale import Scale

PART = "mixed precision"


def measure(scale: Scale) -> list[Figure]:
    """Train in bf16 and in fp16."""
    figures = []
    for precision in ("bf16-mixed", "16-mixed"):
        name = f"{precision}: all finite at the end"
        if precision == "16-mixed" and scale.device.type != "cuda":
            figures.append(unmeasured(PART, name, "the template refuses fp16 on a CPU"))
            continue
        trained = train(scale, f"precision={precision}", "monitor.every_n_steps=5")
        figures.append(Figure(PART, name, what_is_not_finite(trained) or "yes", wanted="yes"))
    return figures


def what_is_not_finite(trained: Trained) -> str | None:
    """Return what is not finite at the end of a watched run; None if everything is.

    The first records of fp16 may have overflowed: the AMP scaler begins with too large a scale.
    """
    assert trained.monitor is not None
    gradients = [p.grad for p in trained.task.parameters() if p.grad is not None]
    if not gradients:
        return "no gradient"
    if not all(bool(torch.isfinite(gradient).all()) for gradient in gradients):
        return "gradients are not"
    last = trained.monitor.flows[-1]
    if last.loss is None or not math.isfinite(last.loss):
        return "the last record's loss is not"
    if last.non_finite or not last.is_finite:
        return "the last record is not"
    return None
