"""The rules of earlier diagnosis tools, with their published thresholds, for the comparison.

Amazon SageMaker Debugger's built-in rules; AutoTrainer (ICSE 2021); DeepDiagnosis (ICSE 2022);
BTTackler. What they look at is measured here, on the same steps, and not by the monitor under test:
weight gradients, and inputs and outputs of the nonlinearities. A tool's answer is the first of its
rules that fires at any of these steps, or `healthy`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from gradflow.gradients.functions import NONLINEARITIES
from gradflow.gradients.record import is_weight
from gradflow.gradients.units import unit_dimension

# The classes that each tool has a rule for; a run of another class is not counted against it.
CLASSES = {
    "SageMaker Debugger": ("healthy", "vanishing", "diverged", "exploding", "dead", "saturated"),
    "AutoTrainer": ("healthy", "vanishing", "diverged", "exploding", "dead"),
    "DeepDiagnosis": ("healthy", "vanishing", "dead", "saturated"),
    "BTTackler": ("healthy", "vanishing", "diverged", "exploding", "dead"),
}


@dataclass
class Step:
    """The tools' inputs in one step: one entry for each weight, or each nonlinearity."""

    loss: float
    finite: bool
    mean: list[float]  # mean |dL/dw|
    median: list[float]  # median |dL/dw|
    norm: list[float]
    zeros: list[float]  # share of dL/dw that is 0
    inactive: list[float]  # share of units whose output is > 0 less than 1 % of the time
    silent: list[float]  # share of outputs <= 0
    beyond_5: list[float]  # share of inputs with |x| >= 5
    beyond_own: list[float]  # share of inputs beyond SageMaker's bounds for tanh and for sigmoid


@dataclass
class PeerWatch(Callback):
    """Measure the tools' inputs every `every` batches, for any net of torch.nn's activations.

    An activation that is called several times counts as several nonlinearities. Each optimizer that
    steps in a batch has a `Step` of its own, with its own weights and with the nonlinearities that
    ran since the step before.
    """

    every: int
    steps: list[Step] = field(default_factory=list)
    _seen: list[tuple[nn.Module, Tensor]] = field(default_factory=list)
    _hooks: list[RemovableHandle] = field(default_factory=list)
    _batches: int = 0
    _is_due: bool = False
    _measured: list[Any] = field(default_factory=list)  # optimizers, in this batch
    _loss: float = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Hook the nonlinearities."""
        self._hooks = [
            module.register_forward_pre_hook(self._see)
            for module in pl_module.modules()
            if isinstance(module, NONLINEARITIES)
        ]

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remove the hooks."""
        for hook in self._hooks:
            hook.remove()

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Forget the last batch."""
        self._is_due = self._batches % self.every == 0
        self._batches += 1
        self._measured.clear()
        self._seen.clear()

    def on_before_backward(
        self, trainer: Trainer, pl_module: LightningModule, loss: Tensor
    ) -> None:
        """Keep the loss."""
        self._loss = float(loss.detach())

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Any
    ) -> None:
        """Measure, if this step is due; L-BFGS comes here once for each of its iterations."""
        if not self._is_due or optimizer in self._measured:
            return
        self._measured.append(optimizer)
        own = {p for group in optimizer.param_groups for p in group["params"]}
        weights = [
            p.grad.to_dense().flatten()
            for name, p in pl_module.named_parameters()
            if is_weight(name, p.ndim) and p in own and p.grad is not None
        ]
        nonlinear = [(m, x, _evaluated(m, x)) for m, x in self._seen]
        self._seen.clear()
        self.steps.append(
            Step(
                loss=self._loss,
                finite=all(bool(torch.isfinite(g).all()) for g in weights),
                mean=[float(g.abs().mean()) for g in weights],
                median=[float(g.abs().median()) for g in weights],
                norm=[float(g.norm()) for g in weights],
                zeros=[float((g == 0).float().mean()) for g in weights],
                inactive=[_inactive(a) for _, _, a in nonlinear],
                silent=[float((a <= 0).float().mean()) for _, _, a in nonlinear],
                beyond_5=[float((x.abs() >= 5).float().mean()) for _, x, _ in nonlinear],
                beyond_own=[_beyond(m, x) for m, x, _ in nonlinear],
            )
        )

    def _see(self, module: nn.Module, args: tuple[Tensor, ...]) -> None:
        if not (self._is_due and module.training and args):
            return
        x = args[0].detach()
        if x.is_floating_point() and x.numel():
            self._seen.append((module, x.clone()))  # a module may act in place


@torch.no_grad()
def _evaluated(module: nn.Module, x: Tensor) -> Tensor:
    value: Tensor = module.forward(x.clone())
    return value


def _inactive(output: Tensor) -> float:
    """Return the share of units whose output (B, units, ...) or (B, T, units) is rarely > 0."""
    units = unit_dimension(output)
    others = [i for i in range(output.ndim) if i != units]
    return float(((output > 0).float().mean(dim=others) < 0.01).float().mean())


def _beyond(module: nn.Module, x: Tensor) -> float:
    if isinstance(module, nn.Tanh):
        return float((x.abs() > 9.5).float().mean())
    if isinstance(module, nn.Sigmoid):
        return float(((x < -23) | (x > 17)).float().mean())
    return 0.0


def answers(steps: list[Step], converged: bool) -> dict[str, str]:
    """Return each tool's answer; AutoTrainer alone looks at whether the run `converged`."""
    return {
        "SageMaker Debugger": _first(_sagemaker(step) for step in steps),
        "AutoTrainer": _first(_autotrainer(step, converged) for step in steps),
        "DeepDiagnosis": _first(_deepdiagnosis(step) for step in steps),
        "BTTackler": _first(_bttackler(step, i < len(steps) / 2) for i, step in enumerate(steps)),
    }


def _first(answers_by_step: Any) -> str:
    return next((answer for answer in answers_by_step if answer), "healthy")


def _sagemaker(step: Step) -> str:
    if not step.finite:
        return "exploding"
    if max(step.inactive, default=0.0) > 0.5:
        return "dead"
    if max(step.beyond_own, default=0.0) > 0.5:
        return "saturated"
    return "vanishing" if min(step.mean, default=1.0) < 1e-7 else ""


def _autotrainer(step: Step, converged: bool) -> str:
    if not step.finite:
        return "exploding"
    if not step.norm:
        return ""
    if max(step.zeros) >= 0.7:
        return "dead"
    first, last = step.norm[0], step.norm[-1]
    if first < 1e-3 * last and first < 1e-4 and not converged:
        return "vanishing"
    return "exploding" if last > 0 and first / last > 70 else ""


def _deepdiagnosis(step: Step) -> str:
    if max(step.silent, default=0.0) >= 0.7:
        return "dead"
    if max(step.beyond_5, default=0.0) > 0.5:
        return "saturated"
    return "vanishing" if step.finite and min(step.mean, default=1.0) < 1e-7 else ""


def _bttackler(step: Step, first_half: bool) -> str:
    if not step.norm:
        return ""
    if not step.finite or max(step.median) > 1e4:
        return "exploding"
    if max(step.zeros) > 0.5:
        return "dead"
    ratios = [a / b for a, b in zip(step.norm, step.norm[1:], strict=False) if b > 0]
    if (first_half and min(step.median) < 1e-5) or min(ratios, default=1) < 1e-4:
        return "vanishing"
    return "exploding" if max(ratios, default=1) > 1e3 else ""
