"""Watching: what is watched stays as it was, and other steps cost nothing."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from tiny_run import fit, watch
from torch import Tensor
from watched import Randomized, everything, hooks

from gradflow.gradients import monitor
from gradflow.gradients.layers import LayerWatch
from gradflow.gradients.monitor import HISTOGRAMS, GradientMonitor
from gradflow.gradients.record import FOLDER


def test_weights_momenta_statistics_and_random_states_are_those_of_an_unwatched_run(
    tmp_path: Path,
) -> None:
    states = []
    for histograms in (None, HISTOGRAMS):
        random.seed(0)
        np.random.seed(0)
        module = Randomized()
        folder, options = tmp_path / str(histograms), {"gradient_clip_val": 0.5, "seeded": False}
        if histograms is None:
            fit(folder, module, every_n_steps=None, **options)
        else:
            watch(folder, module, histograms=histograms, max_steps=12, **options)
        states.append(everything(module))
    alone, watched = states
    assert {"net.1.running_var", "net.1.num_batches_tracked", "momentum 5"} <= alone.keys()
    assert alone.keys() == watched.keys()
    for key, value in alone.items():
        assert torch.equal(watched[key], value), key
    assert not (tmp_path / "None" / FOLDER).exists()


class CountHooks(Callback):
    def __init__(self, fail: bool) -> None:
        self.most, self.fail = 0, fail

    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, *_: object) -> None:
        self.most = max(self.most, hooks(module))
        if self.fail and trainer.global_step == 3:
            raise RuntimeError("out of luck")


@pytest.mark.parametrize("fail", [False, True])
def test_no_hook_is_left_after_training_or_an_exception(tmp_path: Path, fail: bool) -> None:
    module, counted = Randomized(), CountHooks(fail)
    options: dict[str, Any] = {"callbacks": (counted,), "max_steps": 5}
    if fail:
        with pytest.raises(RuntimeError, match="out of luck"):
            watch(tmp_path, module, histograms=HISTOGRAMS, **options)
    else:
        watch(tmp_path, module, histograms=HISTOGRAMS, **options)
    assert counted.most == 4  # before and after the module and its child, for their inputs
    assert hooks(module) == 0


def test_nothing_is_measured_or_copied_on_other_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: dict[str, list[int]] = {"Snapshot": [], "_sample": [], "log_record": []}
    running = [0]

    class Step(Callback):
        def on_train_batch_start(self, trainer: Trainer, *_: object) -> None:
            running[0] = trainer.global_step

    def counting(owner: object, name: str) -> None:
        real = getattr(owner, name)

        def counted(*args: Any, **options: Any) -> Any:
            calls[name].append(running[0])
            return real(*args, **options)

        monkeypatch.setattr(owner, name, counted)

    counting(monitor, "Snapshot")
    counting(monitor, "log_record")
    counting(LayerWatch, "_sample")
    watch(tmp_path, Randomized(), every_n_steps=5, callbacks=(Step(),), max_steps=12)
    assert calls["Snapshot"] == calls["log_record"] == [0, 5, 10, 11]
    layers = 4  # each sampled forward and backward
    assert calls["_sample"] == [step for step in (0, 5, 10, 11) for _ in range(2 * layers)]


def test_each_record_is_one_copy_to_the_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies = [0]
    real = Tensor.cpu

    def counted(self: Tensor) -> Tensor:
        copies[0] += 1
        return real(self)

    monkeypatch.setattr(Tensor, "cpu", counted)
    fit(tmp_path / "alone", Randomized(), every_n_steps=None)
    alone, copies[0] = copies[0], 0
    watch(tmp_path, Randomized(), every_n_steps=5, histograms=HISTOGRAMS, max_steps=12)
    assert copies[0] - alone == 4


def test_a_monitor_can_watch_one_run_after_another(tmp_path: Path) -> None:
    again = GradientMonitor(1, on_error="raise")
    for name in ("first", "second"):
        module = Randomized()
        fit(tmp_path / name, module, every_n_steps=None, callbacks=(again,), max_steps=2)
        assert [flow.step for flow in again.flows] == [0, 1]
        assert hooks(module) == 0
