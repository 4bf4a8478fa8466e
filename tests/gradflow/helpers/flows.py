"""Flows made by hand."""

import math
from typing import Any

import numpy as np

from gradflow.gradients.flow import Flow

CHANCE = math.log(10)


LAYERS = ["first", "second", "third", "logits"]


def flow(step: int = 0, **changes: Any) -> Flow:
    """Return a step of a net at chance, which its task knows, with healthy layers."""
    values: dict[str, Any] = {
        "step": step,
        "loss": CHANCE,
        "layers": LAYERS,
        "pre_activation": np.zeros(4),
        "gradient": np.full(4, -4.0),
        "dead": np.array([0, 0, 0, np.nan]),
        "saturated": np.array([0, 0, 0, np.nan]),
        "outputs": 10,
        "zeros": 0.0,
        "non_finite": 0.0,
        "update_to_weight": np.full(3, -3.0),
        "batches": 10,
    } | changes
    if values["outputs"]:
        values.setdefault("chance_loss", math.log(values["outputs"]))
    values.setdefault("mean_loss", values["loss"])
    for name, value in values.items():
        if isinstance(value, list) and name != "layers":
            values[name] = np.array(value)
    return Flow(**values)
