"""A Lightning callback that records the gradients of every layer, at the steps of a schedule.

It works with any LightningModule and any logger. It changes nothing: weights, buffers and random
states are the same with and without it. It knows nothing of Hydra or of the net's architecture.
"""

from __future__ import annotations

import functools
import logging
import math
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

import numpy as np
import polars as pl
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.optim import Optimizer

from gradflow.gradients.chance import Chance, Term
from gradflow.gradients.charts import histogram_chart, profile_chart
from gradflow.gradients.compiled import uncompiled_name
from gradflow.gradients.flow import Flow, read_flows
from gradflow.gradients.layers import LayerWatch
from gradflow.gradients.mean_loss import MeanLoss
from gradflow.gradients.origin import Origin
from gradflow.gradients.record import (
    Entry,
    RecordWriter,
    first_non_finite,
    is_weight,
    keep_earlier_record,
    scan_gradients,
)
from gradflow.gradients.schedule import is_scheduled
from gradflow.gradients.snapshot import Rows, Snapshot, flow_of_rows, joined
from gradflow.gradients.verdict import Diagnosis, Remedies, Verdict, diagnose
from gradflow.gradients.weights_and_biases import (
    Chart,
    log_charts,
    log_picture,
    log_record,
    log_verdict,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_METRIC = "gradient_monitor_metric"  # in a checkpoint: as it was logged last
HISTOGRAMS = ("weight", "pre_activation", "activation")
log = logging.getLogger(__name__)
Method = TypeVar("Method", bound=Callable[..., None])


def _guarded(method: Method) -> Method:
    """Disable the monitor after an error of its own, so that training goes on.

    With `on_error="raise"` the error ends the training.
    """

    @functools.wraps(method)
    def guarded(self: GradientMonitor, *args: Any, **options: Any) -> None:
        if self._error is not None and not self.is_disabled:
            self._disable(self._error)
        if self.is_disabled:
            return
        try:
            method(self, *args, **options)
        except Exception as error:
            if self.on_error == "raise":
                raise
            self._disable(error)

    return cast(Method, guarded)


class GradientMonitor(Callback):
    """Record gradients, pre-activations, weights and updates, as `record.py` lists them.

    dL/dw is the gradient that the optimizer gets: accumulated over batches, without the AMP
    scaler's scale, before clipping, and under DDP the mean over the processes. z and dL/dz come
    from the step's last batch, on the first process; `layers.py` says for which layers and how many
    images. L is the loss that training_step returns; its mean covers all batches since the last
    record. Records are made at the steps of `schedule.py`, or at every step whose number is a
    multiple of `every_n_steps` (the first step is number 0). The last step is recorded too if
    max_steps or max_epochs tells its number. Unless it is scheduled, that record is marked `final`
    and removed when the run is continued, whose record then equals that of an uninterrupted run.

    On a CPU every step's loss is checked. If it is non-finite, the record names the step, and the
    first layer with a non-finite z if a repetition of the pass shows it (see `origin.py`). On an
    accelerator a check would wait for the device, so only recorded steps are checked.

    The records go to `gradients.parquet` in the trainer's `default_root_dir` and, in one log call
    each, to every WandbLogger of the trainer (see `weights_and_biases.py` for the keys). The record
    of an earlier run in this folder is kept under another name. If the folder is an address, such
    as s3://…, nothing is written. `flows` holds the figures of the records, and `verdict` the
    latest verdict. When training ends, the verdict is written to `verdict.json`. W&B sends an alert
    when it turns bad. The gradient-flow picture goes to W&B every `picture_every_n_steps`, and at
    the end, together with the charts of `charts.py`. `histograms` adds histograms of "weight",
    "pre_activation" (z) or "activation" (phi(z)). `remedies` is what the verdict may recommend (see
    `verdict.Remedies`): nothing by default. `chance_loss` is the loss of a net that knows nothing
    of its input; the module's attribute `chance_loss` may say it instead, None for "unknown".
    `metric` is a logged training metric, such as `train/accuracy`, by which the verdict may see
    that the net learns though its loss does not show it; `metric_mode` says which way it improves.

    A frozen parameter has no row. A parameter that requires a gradient but has none in this step
    has a row of nulls. A parameter shared by several layers has one row, under its first name. What
    cannot be measured is left out, with one warning: parameters that are sparse, complex, sharded
    over processes, or not initialized. With several optimizers the record of step n has the
    parameters of each optimizer at its own n-th step. Losses are then not recorded, since it is
    unknown which belongs to which. Layers inside compiled modules are measured in a second,
    uncompiled pass of the same batch, before the optimizer acts (see `compiled.py` for the
    exceptions).

    An error in the monitor itself disables it with a traceback in the log, and the training goes
    on. With `on_error="raise"` it ends the training.

    Raises:
        ValueError: if a number of steps is below 1, or `histograms`, `on_error` or `metric_mode` is
            unknown.
    """

    def __init__(
        self,
        every_n_steps: int | None = None,
        picture_every_n_steps: int = 2000,
        histograms: Sequence[str] = (),
        remedies: Remedies | None = None,
        on_error: Literal["disable", "raise"] = "disable",
        chance_loss: float | None = None,
        metric: str | None = None,
        metric_mode: Literal["max", "min"] = "max",
    ) -> None:
        if on_error not in ("disable", "raise"):
            raise ValueError(f"on_error={on_error}: allowed: disable, raise")
        if metric_mode not in ("max", "min"):
            raise ValueError(f"metric_mode={metric_mode}: allowed: max, min")
        for key, steps in (
            ("every_n_steps", every_n_steps),
            ("picture_every_n_steps", picture_every_n_steps),
        ):
            if steps is not None and steps < 1:
                raise ValueError(f"{key}={steps}: must be at least 1")
        unknown = [name for name in histograms if name not in HISTOGRAMS]
        if unknown:
            allowed = ", ".join(HISTOGRAMS)
            raise ValueError(f"histograms={list(histograms)}: allowed: {allowed}")
        self.every_n_steps = every_n_steps
        self.picture_every_n_steps = picture_every_n_steps
        self.histograms = tuple(histograms)
        self.remedies = dict(remedies or {})
        self.on_error = on_error
        self.chance_loss = chance_loss
        self.metric = metric
        self.metric_mode = metric_mode
        self.is_disabled = False
        self._error: Exception | None = None  # within a pass of the net
        self.flows: list[Flow] = []
        self.verdict: Verdict | None = None
        self._diagnosis = Diagnosis(self.remedies)
        self._folder: Path | None = None  # None if nothing can be written
        self._writer: RecordWriter | None = None
        self._watch: LayerWatch | None = None
        self._origin: Origin | None = None
        self._last_step: float = -1
        self._optimizers: list[set[nn.Parameter]] = []  # the parameters of each
        self._done: list[int] = []  # the steps of each
        self._counted = (-1, -1)  # the optimizer whose step was counted last, and Lightning's step
        self._parts: dict[int, list[list[Rows]]] = {}  # of steps that some optimizer has not made
        self._loss: Tensor | None = None
        self._mean_loss = MeanLoss()
        self._chance = Chance()
        self._metric_before: float | None = None  # as the checkpoint says
        self._factor: Tensor | float = 1.0
        self._snapshot: Snapshot | None = None
        self._non_finite: tuple[int, str] | None = None  # step and layer
        self._skipped: set[str] = set()  # parameters that a warning has named
        self._alerted: set[str] = set()  # kinds of verdicts

    @_guarded
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the record, and drop the rows of steps that a resumed run repeats."""
        if not trainer.is_global_zero:
            return
        self._end_watching()
        self._optimizers = [set(_parameters(optimizer)) for optimizer in trainer.optimizers]
        several = len(self._optimizers) > 1
        if trainer.global_step == 0:  # a resumed run has its state from the checkpoint
            self._mean_loss, self._chance, self._done = MeanLoss(), Chance(), []
            self._metric_before = None
        if not several or len(self._done) != len(self._optimizers):
            self._done = [trainer.global_step // max(len(self._optimizers), 1)] * len(
                self._optimizers
            )
        # With max_steps, Lightning counts the steps of all optimizers together.
        self._last_step = trainer.estimated_stepping_batches
        if several and trainer.max_steps != -1:
            self._last_step //= len(self._optimizers)
        self._last_step -= 1
        self._counted, self._parts, self._snapshot = (-1, -1), {}, None
        self._open_record(trainer)
        self.verdict, self._alerted = None, set()
        self._diagnosis = Diagnosis(self.remedies)
        for flow in self.flows:  # of a resumed run
            self._diagnosis.add(flow)
        keep = tuple(kind for kind in self.histograms if kind != "weight")
        self._watch = LayerWatch(pl_module, keep=keep, on_error=self._failed_in_pass)
        if pl_module.device.type == "cpu":
            self._origin = Origin(pl_module)

    @_guarded
    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Measure this batch's pass if a step is due."""
        if self._watch is not None:
            self._loss = None  # training_step may skip a batch
            if any(map(self._is_due, self._done)):
                self._watch.start()
        if self._origin is not None:
            self._origin.open()

    @_guarded
    def on_before_backward(
        self, trainer: Trainer, pl_module: LightningModule, loss: Tensor
    ) -> None:
        """Check the loss and keep it for the record."""
        if self._watch is None:
            return
        self._watch.enter_backward(loss)
        self._factor = _factor(trainer, pl_module, loss)
        if len(self._optimizers) == 1:
            returned = loss.detach().mean() * self._factor
            self._mean_loss.add(returned)
            self._loss = returned if self._is_due(self._done[0]) else None
        if self._origin is not None:
            if self._non_finite is None and not bool(torch.isfinite(loss.detach()).all()):
                self._note_non_finite(max(self._done), self._origin.find())
            self._origin.forget()

    @_guarded
    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note that gradients are no longer those of the loss."""
        if self._watch is not None:
            self._watch.leave_backward()

    @_guarded
    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        """Measure gradients and weights before the optimizer acts, if its step is due."""
        if self._watch is None:
            return
        which = next((i for i, o in enumerate(trainer.optimizers) if o is optimizer), 0)
        counted = which, trainer.global_step
        if counted == self._counted:
            return  # an optimizer may evaluate its loss several times in a step
        self._finish(trainer)  # another optimizer may have acted before, in the same batch
        self._counted = counted
        step = self._done[which]
        self._done[which] += 1
        if not self._is_due(step):
            return
        several = len(self._optimizers) > 1
        layers = self._watch.collect(self._factor, go_on=several)
        scalars = {}
        if not several:
            term = None if layers is None else layers.term
            scalars = self._scalars(trainer, pl_module, term, add=self._is_scheduled(step))
        elif layers is not None:
            layers = layers.below(_children(pl_module, self._optimizers[which]))
        self._snapshot = Snapshot(
            step,
            pl_module,
            layers,
            scalars,
            self._mean_loss.read(),
            weight_histograms="weight" in self.histograms,
            only=self._optimizers[which] if several else None,
        )
        if self._is_scheduled(step):  # else the run may be continued, with this record dropped
            self._mean_loss.reset()
        self._warn_of(self._snapshot.skipped)

    @_guarded
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Measure the optimizer's update, and record the step."""
        self._finish(trainer)
        # Of accumulated batches the last one is measured; the optimizer has acted by then.
        if self._watch is not None:
            self._watch.stop()
        if self._origin is not None:
            self._origin.close()  # validation has no hooks

    def state_dict(self) -> dict[str, Any]:
        """Return the state to save in a checkpoint: what the next record needs of earlier steps."""
        if self.is_disabled:
            return {}
        state: dict[str, Any] = {"done": list(self._done), "chance": self._chance.state_dict()}
        return self._mean_loss.state_dict() | state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state from a checkpoint."""
        if state_dict:
            self._mean_loss.load_state_dict(state_dict)
        if "chance" in state_dict:
            self._chance.load_state_dict(state_dict["chance"])
        self._done = list(state_dict.get("done", []))

    @_guarded
    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Write the buffer, so that a run resumed from this checkpoint has every earlier row."""
        self._flush()
        if (metric := self._latest_metric(trainer)) is not None:
            checkpoint[_METRIC] = float(metric)

    @_guarded
    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Keep the metric that was logged last, for the records until it is logged again."""
        if _METRIC in checkpoint:
            self._metric_before = checkpoint[_METRIC]

    @_guarded
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the buffer and the verdict, and remove the hooks."""
        self._end(trainer)

    @_guarded
    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Write the buffer and the verdict, since a user wants the gradients before a crash."""
        self._end(trainer)

    def _open_record(self, trainer: Trainer) -> None:
        self._folder, self._writer, self.flows, self._non_finite = None, None, [], None
        folder = str(trainer.default_root_dir)
        if "://" in folder:
            warnings.warn(f"{folder}: is an address; no gradients are written to it", stacklevel=2)
            return
        self._folder = Path(folder)
        self._folder.mkdir(parents=True, exist_ok=True)
        if trainer.global_step == 0 and (kept := keep_earlier_record(self._folder)) is not None:
            warnings.warn(f"an earlier run's gradients are now in {kept}", stacklevel=2)
        self._writer = RecordWriter(self._folder, min(self._done, default=0))
        earlier = scan_gradients(self._folder)
        self.flows = read_flows(earlier)
        self._non_finite = first_non_finite(earlier)

    def _is_due(self, step: int) -> bool:
        return self._is_scheduled(step) or step == self._last_step

    def _is_scheduled(self, step: int) -> bool:
        return is_scheduled(step, self.every_n_steps)

    def _finish(self, trainer: Trainer) -> None:
        """Read what was measured, and record the step once all optimizers have made theirs."""
        if self._snapshot is None:
            return
        step, rows = self._snapshot.step, self._snapshot.read()
        self._snapshot = None
        parts = self._parts.setdefault(step, [])
        if len(self._optimizers) == 1:
            rows += self._said_chance(trainer.lightning_module)
        elif not parts:
            rows.append(Rows("optimizers", [Entry("optimizers", 0, len(self._optimizers))], {}))
        if not self._is_scheduled(step) and not parts:
            rows.append(Rows("final", [Entry("step", 0, 1)], {}))
        self._append(step, rows)
        parts.append(rows)
        if len(parts) == len(self._optimizers):
            del self._parts[step]
            self._record(trainer, step, joined(parts) if len(parts) > 1 else rows)

    def _scalars(
        self, trainer: Trainer, module: LightningModule, term: Term | None, *, add: bool
    ) -> dict[str, Tensor]:
        """Return the step's single numbers (), by kind, on the device."""
        found = {}
        if self._loss is not None:
            found["loss"] = self._loss
        metric = self._latest_metric(trainer)
        if metric is not None:
            found["metric"] = metric * (1.0 if self.metric_mode == "max" else -1.0)
        if term is None:
            return found
        chance, largest = self._chance.read(term, add=add)
        if not self._said_chance(module):
            found["term"], found["chance_loss"] = term.value, chance
        if term.hits is not None:
            found["hits"], found["largest_class"] = term.hits, largest
        return found

    def _latest_metric(self, trainer: Trainer) -> Tensor | None:
        """Return the metric () as it was logged last, maybe before the run was resumed."""
        logged = trainer.callback_metrics.get(self.metric or "")
        if logged is not None and logged.numel() == 1:
            return logged.detach()
        if self._metric_before is None:
            return None
        return torch.tensor(self._metric_before, device=trainer.lightning_module.device)

    def _said_chance(self, module: LightningModule) -> list[Rows]:
        """Return the row of the chance loss that the user or the module says, if one does."""
        said: Any = self.chance_loss
        if said is None:
            said = getattr(module, "chance_loss", None)
        if said is None or (callable(said) and not isinstance(said, Tensor)):
            return []
        return [Rows("chance_loss", [Entry("loss", 0, 1)], {"max": np.array([float(said)])})]

    def _append(self, step: int, rows: Sequence[Rows]) -> None:
        if self._writer is not None:
            for group in rows:
                self._writer.append(step, group.kind, group.entries, group.columns)

    def _record(self, trainer: Trainer, step: int, rows: list[Rows]) -> None:
        flow = flow_of_rows(step, rows)
        self.flows.append(flow)
        if flow.loss is not None and not math.isfinite(flow.loss) and not self._non_finite:
            self._note_non_finite(step, _first_non_finite_layer(rows))
        log_record(trainer.loggers, step, rows, flow)
        self.verdict = self._diagnosis.add(flow, self._non_finite)
        kind = self.verdict.kind
        if kind != "healthy" and kind not in self._alerted:  # one alert for each kind
            self._alerted.add(kind)
            log_verdict(trainer.loggers, self.verdict, alert=True)
        if step and step % self.picture_every_n_steps == 0:
            self._log_picture(trainer)

    def _warn_of(self, skipped: dict[str, str]) -> None:
        new = {name: reason for name, reason in skipped.items() if name not in self._skipped}
        if new:
            self._skipped |= new.keys()
            listed = ", ".join(f"{name} ({reason})" for name, reason in new.items())
            warnings.warn(f"gradients are not measured for {listed}", stacklevel=2)

    def _failed_in_pass(self, error: Exception) -> None:
        """Note an error within a pass of the net; the next callback disables the monitor."""
        if self.on_error == "raise":
            raise error
        self._error = error

    def _disable(self, error: Exception) -> None:
        self.is_disabled = True
        if isinstance(error, OSError):  # as of a full disk: no fault of the code
            log.error("gradient monitor: disabled; training goes on: %s", error)
        else:
            log.error("gradient monitor: disabled by an error; training goes on", exc_info=error)
        self._snapshot = None
        for end in (self._end_watching, self._flush):
            try:
                end()
            except Exception:  # it is broken already
                log.debug("gradient monitor: not closed", exc_info=True)

    def _log_picture(self, trainer: Trainer) -> None:
        if any(flow.layers for flow in self.flows):
            log_picture(trainer.loggers, self.flows[-1].step, self._draw)

    def _draw(self) -> Figure:
        from gradflow.gradients.picture import draw_gradient_flow  # matplotlib, only for W&B

        return draw_gradient_flow(self.flows)

    def _note_non_finite(self, step: int, layer: str | None) -> None:
        self._non_finite = step, layer or "loss"
        self._append(step, [Rows("non_finite", [Entry(layer or "loss", 0, 1)], {})])

    def _end_watching(self) -> None:
        watch, origin = self._watch, self._origin
        self._watch = self._origin = None
        if origin is not None:
            origin.close()
        if watch is not None:
            watch.close()

    def _end(self, trainer: Trainer) -> None:
        is_over = self._watch is None  # or it is another process
        self._end_watching()
        self._flush()
        if is_over:
            return
        if self.flows:
            self.verdict = diagnose(self.flows, self._non_finite, self.remedies)
            if self._folder is not None:
                self.verdict.write(self._folder)
            log_verdict(trainer.loggers, self.verdict, alert=False)
            self._log_picture(trainer)
            if self._folder is not None:
                draw = partial(self._charts, trainer, self._folder)
                log_charts(trainer.loggers, self.flows[-1].step, draw)

    def _charts(self, trainer: Trainer, folder: Path) -> list[Chart]:
        steps = (self.flows[0].step, self.flows[-1].step)
        record = scan_gradients(folder)
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


def _parameters(optimizer: Optimizer) -> list[nn.Parameter]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _children(module: nn.Module, parameters: set[nn.Parameter]) -> list[str]:
    """Return the names of the children that have some of `parameters`."""
    return [
        name
        for name, child in module.named_children()
        if any(parameter in parameters for parameter in child.parameters())
    ]


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
