"""A Lightning callback that measures every parameter's gradient, every N steps.

It works with any LightningModule and any logger. It reads gradients and changes nothing: weights,
buffers and random states are the same with and without it. It knows nothing of Hydra or of what the
net is made of.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import WandbLogger
from torch import Tensor
from torch.optim import Optimizer

from gradflow.gradients.histogram import Histograms, measure
from gradflow.gradients.record import Entry, RecordWriter
from gradflow.weights_and_biases import histogram


class GradientMonitor(Callback):
    """Record |dL/dw| of each parameter: log2 histogram, norm, RMS, maximum, zeros, NaN, Inf.

    Measured when the optimizer is about to step: after accumulation over batches, after the AMP
    scaler's scale is divided out, before clipping; under DDP the mean over the processes. A record
    is made at every step whose number is a multiple of `every_n_steps` (the first step is number
    0), and at the last step where Lightning knows it beforehand (from max_steps or max_epochs).

    The records go to `gradients.parquet` in the trainer's `default_root_dir` (see `record.py`) and,
    in one log call each, to every WandbLogger of the trainer: `gradients/<parameter>`, a histogram
    over log2 |g|, and `gradient_norm/<parameter>`.

    A frozen parameter has no row; one that requires a gradient but has none in this step has a row
    of nulls; a parameter shared by several layers has one row, under its first name. With several
    optimizers Lightning counts each one's step: a record holds all parameters as they are when the
    counted step is due. Sharded gradients (FSDP) are not gathered: each process sees its own part.

    Raises:
        ValueError: if `every_n_steps` is below 1.
    """

    def __init__(self, every_n_steps: int) -> None:
        if every_n_steps < 1:
            raise ValueError(f"every_n_steps={every_n_steps}: must be at least 1")
        self.every_n_steps = every_n_steps
        self._writer: RecordWriter | None = None
        self._last_step: float = -1
        self._recorded_step = -1

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the record; the rows that a resumed run is about to repeat are dropped."""
        if not trainer.is_global_zero:
            return
        self._writer = RecordWriter(Path(trainer.default_root_dir), trainer.global_step)
        self._last_step = trainer.estimated_stepping_batches - 1
        self._recorded_step = -1

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        """Measure and record, if this step is due."""
        step = trainer.global_step
        if self._writer is None or step == self._recorded_step:
            return  # an optimizer that evaluates its loss several times a step comes here as often
        if step % self.every_n_steps and step != self._last_step:
            return
        self._recorded_step = step

        measured: list[Entry] = []
        without_gradient: list[Entry] = []
        gradients: list[Tensor] = []
        for index, (name, parameter) in enumerate(pl_module.named_parameters()):
            if not parameter.requires_grad or parameter.numel() == 0:
                continue
            # torch.compile wraps a module into one whose attribute `_orig_mod` it is.
            entry = Entry(name.replace("_orig_mod.", ""), index, parameter.numel())
            if parameter.grad is None:
                without_gradient.append(entry)
            else:
                measured.append(entry)
                gradients.append(parameter.grad)
        if without_gradient:
            self._writer.append(step, "gradient", without_gradient, None)
        if measured:
            histograms = measure(gradients)
            self._writer.append(step, "gradient", measured, histograms)
            _log(trainer, step, [entry.name for entry in measured], histograms)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Write the buffer: a run resumed from this checkpoint has every row before it."""
        self._flush()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the buffer."""
        self._flush()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Write the buffer: how the gradients were before a crash is what one wants to see."""
        self._flush()

    def _flush(self) -> None:
        if self._writer is not None:
            self._writer.flush()


def _log(trainer: Trainer, step: int, names: list[str], histograms: Histograms) -> None:
    loggers = [logger for logger in trainer.loggers if isinstance(logger, WandbLogger)]
    if not loggers:
        return
    values: dict[str, Any] = {}
    for i, name in enumerate(names):
        values[f"gradients/{name}"] = histogram(
            histograms.bins[i],
            zeros_and_subnormals=int(histograms.zeros[i] + histograms.subnormals[i]),
            infs_and_nans=int(histograms.infs[i] + histograms.nans[i]),
        )
        values[f"gradient_norm/{name}"] = float(histograms.norm[i])
    for logger in loggers:
        logger.log_metrics(values, step=step)
