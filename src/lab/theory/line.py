"""The theory line: one prediction for each configuration that has a theory, within a time limit.

Runs do not store predictions. Each is computed again, for the first batch and the net of the
configuration's first run. Nothing is downloaded for it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING

import numpy as np

from gradflow.comparison.page.overlays import Line, Overlay
from gradflow.runs.read import Run

if TYPE_CHECKING:  # take seconds, and a page without theory does not need them
    from torch import Tensor

    from project.config import Config


def lines(runs: Sequence[Run | None], seconds: float) -> list[Line]:
    """Predict for each run, in order; give a reason instead for None and after `seconds`."""
    from gradflow.errors import ConfigError, DataError

    if seconds > 0 and any(runs):
        import_module("lab.probe.run")  # the slow first import is not counted
    end = time.monotonic() + seconds
    predict = _Predictor()
    found = []
    for run in runs:
        if run is None:
            found.append(Line(reason="no record at step 0, or no configuration"))
        elif time.monotonic() >= end:
            found.append(Line(reason="left out to save time"))
        else:
            try:
                found.append(predict(run))
            except (ConfigError, DataError) as error:
                found.append(Line(reason=str(error)))
    return found


class _Predictor:
    """Predict once for all runs that start with the same net and the same batch."""

    def __init__(self) -> None:
        self._lines: dict[str, Line] = {}
        self._batches: dict[str, tuple[Tensor, Tensor]] = {}

    def __call__(self, run: Run) -> Line:
        from lab.probe.run import net_key
        from project.config import Config
        from project.train import PROJECT

        config = Config.check(run.config)
        batch = repr((config.data, config.seed, config.channels_last))
        key = net_key(config) + batch
        if key not in self._lines:
            PROJECT.refuse_foreign_code(config)
            self._lines[key] = self._predict(config, batch)
        return self._lines[key]

    def _predict(self, config: Config, batch: str) -> Line:
        from lab.probe.run import first_batch, fresh_net, new_net
        from lab.remedies.lsuv import REASON, is_chosen
        from lab.theory.band import band, ends
        from lab.theory.layers import applies
        from lab.theory.predict import predict
        from project.models import ConvNet

        if is_chosen(config):
            return Line(reason=REASON)
        net = new_net(config)
        if not isinstance(net, ConvNet):
            return Line(reason="the theory covers only gradflow's ConvNet")
        reason = applies(net) or _missing_data(config)
        if reason is not None:
            return Line(reason=reason)
        if batch not in self._batches:
            self._batches[batch] = first_batch(config)
        images, labels = self._batches[batch]
        try:
            prediction = predict(net, images, labels)
        except ValueError as error:  # an activation that is not elementwise
            return Line(reason=str(error))
        spread = band(partial(fresh_net, config, images), images, labels)
        return Line(
            np.array(prediction.pre_activation),
            np.array(prediction.gradient),
            # The theory has no z of the logits.
            pre_activation_band=ends(spread.pre_activation)[:, :-1],
            gradient_band=ends(spread.gradient),
        )


def _missing_data(config: Config) -> str | None:
    from project.build import build_data
    from project.data import CIFAR10
    from project.data.cifar10.rows import FILE

    data = build_data(config)
    if isinstance(data, CIFAR10) and not (data.root / FILE).is_file():
        return f"{data.root / FILE} is missing"
    return None


# Twenty seconds suffice for about twenty nets without a norm. The default net, with batch norm and
# batches of 128, takes about 5 (shared 2-core x86-64). The page says which it left out.
THEORY = Overlay(
    "theory",
    "Dotted: mean-field theory for wide nets, with nothing fitted. Band: the least to the largest "
    "of 19 initializations of this net, on the 8 images of the record; a tenth of all lie outside.",
    partial(lines, seconds=20.0),
)
