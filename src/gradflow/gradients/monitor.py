"""A Lightning callback that records what the gradients do at every layer, every N steps.

It works with any LightningModule and any logger. It reads and changes nothing: weights, buffers and
random states are the same with and without it. It knows nothing of Hydra or of what the net is made
of.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.optim import Optimizer

from gradflow.gradients.charts import histogram_chart, profile_chart
from gradflow.gradients.compiled import uncompiled_name
from gradflow.gradients.flow import Flow, read_flows
from gradflow.gradients.layers import LayerWatch
from gradflow.gradients.mean_loss import MeanLoss
from gradflow.gradients.record import (
    Entry,
    RecordWriter,
    first_non_finite,
    is_weight,
    scan_gradients,
)
from gradflow.gradients.snapshot import Rows, Snapshot, flow_of_rows
from gradflow.gradients.verdict import Remedies, Verdict, diagnose
from gradflow.gradients.weights_and_biases import (
    Chart,
    log_charts,
    log_picture,
    log_record,
    log_verdict,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HISTOGRAMS = ("weight", "pre_activation", "activation")


class GradientMonitor(Callback):
    """Record gradients, pre-activations, weights and updates, as `record.py` lists them.

    dL/dw is that of the optimizer's step: after accumulation over batches, with the AMP scaler's
    scale divided out, before clipping; under DDP the mean over the processes. z and dL/dz are those
    of the step's last batch (see `layers.py` for which layers are seen, and of how many images), on
    the first process; L is the loss that training_step returns, and its mean is that of all batches
    since the last record. A record is made at every step whose number is a multiple of
    `every_n_steps` (the first step is number 0), and at the last step where Lightning knows it
    beforehand (from max_steps or max_epochs).

    On a CPU the loss of every step is looked at: where it is not finite, the record names that step
    and the first layer whose z is not. On an accelerator, where a look would wait for the device,
    that is done at the steps that are recorded.

    The records go to `gradients.parquet` in the trainer's `default_root_dir` and, in one log call
    each, to every WandbLogger of the trainer (see `weights_and_biases.py` for the keys); `flows`
    holds their figures, and `verdict` what they say so far. The verdict is written to
    `verdict.json` when training ends, and W&B is alerted when it turns bad. `picture_every_n_steps`
    says how often the gradient-flow picture goes to W&B, besides at the end, when the charts of
    `charts.py` go there too. `histograms` asks for
    those of "weight", "pre_activation" (z) or "activation" (phi(z)) too. `remedies` are what the
    verdict may recommend, by its kind (see `verdict.Remedies`); nothing, unless given.

    A frozen parameter has no row; one that requires a gradient but has none in this step has a row
    of nulls; a parameter shared by several layers has one row, under its first name. With several
    optimizers Lightning counts each one's step: a record holds all parameters as they are when the
    counted step is due. Sharded gradients (FSDP) are not gathered: each process sees its own part.
    The layers inside of what `torch.compile` has made are those of a second pass, uncompiled, of
    the same batch, before the optimizer acts (see `compiled.py` for what is not covered).

    Raises:
        ValueError: if a number of steps is below 1, or `histograms` names anything else.
    """

    def __init__(
        self,
        every_n_steps: int,
        picture_every_n_steps: int = 2000,
        histograms: Sequence[str] = (),
        remedies: Remedies | None = None,
    ) -> None:
        for key, steps in (
            ("every_n_steps", every_n_steps),
            ("picture_every_n_steps", picture_every_n_steps),
        ):
            if steps < 1:
                raise ValueError(f"{key}={steps}: must be at least 1")
        unknown = [name for name in histograms if name not in HISTOGRAMS]
        if unknown:
            allowed = ", ".join(HISTOGRAMS)
            raise ValueError(f"histograms={list(histograms)}: must be of {allowed}")
        self.every_n_steps = every_n_steps
        self.picture_every_n_steps = picture_every_n_steps
        self.histograms = tuple(histograms)
        self.remedies = dict(remedies or {})
        self.flows: list[Flow] = []
        self.verdict: Verdict | None = None
        self._writer: RecordWriter | None = None
        self._watch: LayerWatch | None = None
        self._last_step: float = -1
        self._recorded_step = -1
        self._loss: Tensor | None = None
        self._mean_loss = MeanLoss()
        self._factor: Tensor | float = 1.0
        self._snapshot: Snapshot | None = None
        self._non_finite: tuple[int, str] | None = None  # step and layer

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the record; the rows that a resumed run is about to repeat are dropped."""
        if not trainer.is_global_zero:
            return
        folder = Path(trainer.default_root_dir)
        folder.mkdir(parents=True, exist_ok=True)
        self._writer = RecordWriter(folder, trainer.global_step)
        self._last_step = trainer.estimated_stepping_batches - 1
        self._recorded_step = -1
        if trainer.global_step == 0:  # or it goes on with what its checkpoint holds
            self._mean_loss = MeanLoss()
        self._snapshot = None
        earlier = scan_gradients(folder)
        self.flows = read_flows(earlier)
        self._non_finite = first_non_finite(earlier)
        self.verdict = None
        keep = [kind for kind in self.histograms if kind != "weight"]
        self._watch = LayerWatch(pl_module, keep=tuple(keep))

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Measure this batch's pass, if the step that it belongs to is due."""
        if self._watch is not None:
            self._loss = None  # training_step may skip a batch
            self._watch.start(measuring=self._is_due(trainer.global_step))

    def on_before_backward(
        self, trainer: Trainer, pl_module: LightningModule, loss: Tensor
    ) -> None:
        """Look at the loss, and keep it for the record."""
        if self._watch is None:
            return
        factor = _factor(trainer, pl_module, loss)
        returned = loss.detach() * factor
        self._mean_loss.add(returned)
        if self._is_due(trainer.global_step):
            self._factor, self._loss = factor, returned
        if loss.device.type == "cpu" and not self._non_finite and not math.isfinite(loss.detach()):
            self._note_non_finite(trainer.global_step, self._watch.first_non_finite())
        self._watch.forget()

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        """Measure what is there before the optimizer acts, if this step is due."""
        step = trainer.global_step
        if self._watch is None or step == self._recorded_step:
            return  # an optimizer that evaluates its loss several times a step comes here as often
        self._finish(trainer)  # of an optimizer that acted before, in the same batch
        if not self._is_due(step):
            return
        self._recorded_step = step
        self._snapshot = Snapshot(
            step,
            pl_module,
            self._watch.collect(self._factor),
            self._loss,
            self._mean_loss.take(),
            weight_histograms="weight" in self.histograms,
        )

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Measure what the optimizer has done, and record the step."""
        self._finish(trainer)

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint is to hold: the losses that no record has yet."""
        return self._mean_loss.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        self._mean_loss.load_state_dict(state_dict)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Write the buffer: a run resumed from this checkpoint has every row before it."""
        self._flush()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the buffer and the verdict, and take the hooks off."""
        self._end(trainer)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Write the buffer: how the gradients were before a crash is what one wants to see."""
        self._end(trainer)

    def _is_due(self, step: int) -> bool:
        return step % self.every_n_steps == 0 or step == self._last_step

    def _finish(self, trainer: Trainer) -> None:
        if self._snapshot is None or self._writer is None:
            return
        step, rows = self._snapshot.step, self._snapshot.read()
        self._snapshot = None
        for of_kind in rows:
            self._writer.append(step, of_kind.kind, of_kind.entries, of_kind.columns)
        flow = flow_of_rows(step, rows)
        self.flows.append(flow)
        if flow.loss is not None and not math.isfinite(flow.loss) and not self._non_finite:
            self._note_non_finite(step, _first_non_finite_layer(rows))
        log_record(trainer.loggers, step, rows, flow)
        before, self.verdict = self.verdict, diagnose(self.flows, self._non_finite, self.remedies)
        if self.verdict.kind != "healthy" and (before is None or before.kind != self.verdict.kind):
            log_verdict(trainer.loggers, self.verdict, alert=True)
        if step and step % self.picture_every_n_steps == 0:
            self._log_picture(trainer)

    def _log_picture(self, trainer: Trainer) -> None:
        if any(flow.layers for flow in self.flows):
            log_picture(trainer.loggers, self.flows[-1].step, self._draw)

    def _draw(self) -> Figure:
        from gradflow.gradients.picture import draw_gradient_flow  # matplotlib, only for W&B

        return draw_gradient_flow(self.flows)

    def _note_non_finite(self, step: int, layer: str | None) -> None:
        assert self._writer is not None  # the callers' question
        self._non_finite = step, layer or "loss"
        self._writer.append(step, "non_finite", [Entry(layer or "loss", 0, 1)], {})

    def _end(self, trainer: Trainer) -> None:
        self._flush()
        if self._watch is None or self._writer is None:
            return  # another process, or an end that has been seen to
        self._watch.close()
        self._watch = None
        if self.flows:
            self.verdict = diagnose(self.flows, self._non_finite, self.remedies)
            self.verdict.write(Path(trainer.default_root_dir))
            log_verdict(trainer.loggers, self.verdict, alert=False)
            self._log_picture(trainer)
            draw = partial(self._charts, trainer)
            log_charts(trainer.loggers, self.flows[-1].step, draw)

    def _charts(self, trainer: Trainer) -> list[Chart]:
        steps = (self.flows[0].step, self.flows[-1].step)
        record = scan_gradients(Path(trainer.default_root_dir))
        ends = record.filter(pl.col("step").is_in(steps)).collect()
        weights = [
            uncompiled_name(name)
            for name, parameter in trainer.lightning_module.named_parameters()
            if is_weight(name, parameter.dim())
        ]
        found = profile_chart(self.flows), histogram_chart(ends, weights)
        return [chart for chart in found if chart is not None]

    def _flush(self) -> None:
        if self._writer is not None:
            self._writer.flush()


def _factor(trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> Tensor | float:
    """What the loss as it goes backward is to be multiplied by, to be training_step's own.

    Lightning has divided it for accumulation, and the AMP scaler has multiplied it.
    """
    batches = trainer.accumulate_grad_batches if pl_module.automatic_optimization else 1
    scaler: torch.amp.GradScaler | None = getattr(trainer.precision_plugin, "scaler", None)
    if scaler is None or not scaler.is_enabled():
        return float(batches)
    # The present scale without a wait for the device, which get_scale() would be.
    return batches / scaler.scale(torch.ones((), device=loss.device))


def _first_non_finite_layer(rows: Sequence[Rows]) -> str | None:
    for of_kind in rows:
        if of_kind.kind == "pre_activation":
            bad = np.isnan(of_kind.columns["norm"])
            if "bins" in of_kind.columns:  # then the norm is that of the finite elements
                bad |= of_kind.columns["nans"] + of_kind.columns["infs"] > 0
            return of_kind.entries[int(bad.argmax())].name if bad.any() else None
    return None
