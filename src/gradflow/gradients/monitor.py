"""A Lightning callback that records the gradients of every layer, every N steps.

It works with any LightningModule and any logger. It changes nothing: weights, buffers and random
states are the same with and without it. It knows nothing of Hydra or of the net's architecture.
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

    dL/dw is the gradient that the optimizer gets: accumulated over batches, without the AMP
    scaler's scale, before clipping, and under DDP the mean over the processes. z and dL/dz come
    from the step's last batch, on the first process; `layers.py` says for which layers and how many
    images. L is the loss that training_step returns; its mean covers all batches since the last
    record. A record is made at every step whose number is a multiple of `every_n_steps` (the first
    step is number 0). The last step is recorded too if max_steps or max_epochs tells its number.

    On a CPU every step's loss is checked. If it is non-finite, the record names the step and the
    first layer with a non-finite z. On an accelerator a check would wait for the device, so only
    recorded steps are checked.

    The records go to `gradients.parquet` in the trainer's `default_root_dir` and, in one log call
    each, to every WandbLogger of the trainer (see `weights_and_biases.py` for the keys). `flows`
    holds their figures, and `verdict` the latest verdict. When training ends, the verdict is
    written to `verdict.json`. W&B sends an alert when it turns bad. The gradient-flow picture goes
    to W&B every `picture_every_n_steps`, and at the end, together with the charts of `charts.py`.
    `histograms` adds histograms of "weight", "pre_activation" (z) or "activation" (phi(z)).
    `remedies` is what the verdict may recommend (see `verdict.Remedies`): nothing by default.

    A frozen parameter has no row. A parameter that requires a gradient but has none in this step
    has a row of nulls. A parameter shared by several layers has one row, under its first name. With
    several optimizers Lightning counts each one's step: a record holds all parameters as they are
    when the counted step is due. Sharded gradients (FSDP) are not gathered: each process records
    its own part. Layers inside compiled modules are measured in a second, uncompiled pass of the
    same batch, before the optimizer acts (see `compiled.py` for the exceptions).

    Raises:
        ValueError: if a number of steps is below 1, or `histograms` has an unknown name.
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
            raise ValueError(f"histograms={list(histograms)}: allowed: {allowed}")
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
        """Open the record, and drop the rows of steps that a resumed run repeats."""
        if not trainer.is_global_zero:
            return
        folder = Path(trainer.default_root_dir)
        folder.mkdir(parents=True, exist_ok=True)
        self._writer = RecordWriter(folder, trainer.global_step)
        self._last_step = trainer.estimated_stepping_batches - 1
        self._recorded_step = -1
        if trainer.global_step == 0:  # a resumed run has its state from the checkpoint
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
        """Measure this batch's pass if its step is due."""
        if self._watch is not None:
            self._loss = None  # training_step may skip a batch
            self._watch.start(measuring=self._is_due(trainer.global_step))

    def on_before_backward(
        self, trainer: Trainer, pl_module: LightningModule, loss: Tensor
    ) -> None:
        """Check the loss and keep it for the record."""
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
        """Measure gradients and weights before the optimizer acts, if this step is due."""
        step = trainer.global_step
        if self._watch is None or step == self._recorded_step:
            return  # an optimizer may evaluate its loss several times in a step
        self._finish(trainer)  # another optimizer may have acted before, in the same batch
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
        """Measure the optimizer's update, and record the step."""
        self._finish(trainer)

    def state_dict(self) -> dict[str, Any]:
        """Return the state to save in a checkpoint: the losses that are not recorded yet."""
        return self._mean_loss.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state from a checkpoint."""
        self._mean_loss.load_state_dict(state_dict)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Write the buffer, so that a run resumed from this checkpoint has every earlier row."""
        self._flush()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the buffer and the verdict, and remove the hooks."""
        self._end(trainer)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Write the buffer and the verdict, since a user wants the gradients before a crash."""
        self._end(trainer)

    def _is_due(self, step: int) -> bool:
        return step % self.every_n_steps == 0 or step == self._last_step

    def _finish(self, trainer: Trainer) -> None:
        if self._snapshot is None or self._writer is None:
            return
        step, rows = self._snapshot.step, self._snapshot.read()
        rows += _chance_loss(trainer.lightning_module)
        self._snapshot = None
        for group in rows:
            self._writer.append(step, group.kind, group.entries, group.columns)
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
        assert self._writer is not None  # checked by the callers
        self._non_finite = step, layer or "loss"
        self._writer.append(step, "non_finite", [Entry(layer or "loss", 0, 1)], {})

    def _end(self, trainer: Trainer) -> None:
        self._flush()
        if self._watch is None or self._writer is None:
            return  # another process, or already ended
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
        charts = profile_chart(self.flows), histogram_chart(ends, weights)
        return [chart for chart in charts if chart is not None]

    def _flush(self) -> None:
        if self._writer is not None:
            self._writer.flush()


def _chance_loss(module: LightningModule) -> list[Rows]:
    """Return the row of the module's `chance_loss`; none if it has no such attribute."""
    chance: Any = getattr(module, "chance_loss", module)
    if chance is module:
        return []
    value = math.nan if chance is None else float(chance)
    return [Rows("chance_loss", [Entry("loss", 0, 1)], {"max": np.array([value])})]


def _factor(trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> Tensor | float:
    """Return the factor that turns the loss of the backward pass into training_step's own.

    Lightning divides the loss for accumulation, and the AMP scaler multiplies it.
    """
    batches = trainer.accumulate_grad_batches if pl_module.automatic_optimization else 1
    scaler: torch.amp.GradScaler | None = getattr(trainer.precision_plugin, "scaler", None)
    if scaler is None or not scaler.is_enabled():
        return float(batches)
    # Get the present scale without waiting for the device, as get_scale() would.
    return batches / scaler.scale(torch.ones((), device=loss.device))


def _first_non_finite_layer(rows: Sequence[Rows]) -> str | None:
    for group in rows:
        if group.kind == "pre_activation":
            bad = np.isnan(group.columns["norm"])
            if "bins" in group.columns:  # then the norm leaves out non-finite elements
                bad |= group.columns["nans"] + group.columns["infs"] > 0
            return group.entries[int(bad.argmax())].name if bad.any() else None
    return None
