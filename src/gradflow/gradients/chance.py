"""The loss of a net that knows nothing of its input, from the targets that a loss function gets.

Such a net puts out the same for every input. The best that it can do follows from the targets
alone: for cross-entropy the entropy of the classes' shares, for squared errors the variance of the
targets. Whatever a training step makes of the loss function's value, by a scale, a sum or a
penalty, the value itself can be compared with that. This file knows tensors and loss functions.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

# What the targets of a loss function are: indices or shares of classes, probabilities, numbers of
# which it is the squared error or a Gaussian's likelihood, or counts.
_TARGETS: dict[Callable[..., Tensor], str] = {
    F.cross_entropy: "classes",
    F.nll_loss: "classes",
    F.binary_cross_entropy_with_logits: "probabilities",
    F.binary_cross_entropy: "probabilities",
    F.mse_loss: "numbers",
    F.gaussian_nll_loss: "gaussian numbers",
    F.poisson_nll_loss: "counts",
}
_OUTPUTS = 2**16  # with more of them for each input, nothing is computed


@dataclass(frozen=True)
class Term:
    """The plain mean of a loss function over one batch, and what its targets are like."""

    logits: Tensor  # the tensor that the net put into it
    function: Callable[..., Tensor]
    value: Tensor  # ()
    # (2, outputs): means of the targets and of their squares; of classes, the share of each, twice.
    moments: Tensor
    count: Tensor  # () of the targets for each output
    hits: Tensor | None  # () share of the classes that the net gets right, where there are classes

    def chance(self, moments: Tensor, count: Tensor) -> Tensor:
        """Return the least loss () of constant outputs, given the mean moments of `count` targets.

        Few targets vary less than all do. An entropy is corrected for that by half of its degrees
        of freedom over the count (Miller 1955), a variance by count / (count - 1).
        """
        mean, square = moments
        if _TARGETS[self.function] == "counts":
            return torch.mean(mean - torch.xlogy(mean, mean))
        if "numbers" in _TARGETS[self.function]:
            variance = (square - mean**2).clamp(min=0) * count / (count - 1).clamp(min=1)
            # Targets that are all alike, such as the zeros that a residual is compared with, say
            # nothing of chance.
            variance = variance.where(variance.sum() > 1e-9 * square.sum(), torch.nan)
            if _TARGETS[self.function] == "numbers":
                return torch.mean(variance)
            return torch.mean(torch.log(variance.clamp(min=1e-12)) / 2 + 0.5)
        entropy: Tensor = torch.special.entr(mean)
        if _TARGETS[self.function] == "classes":
            return torch.add(entropy.sum(), ((mean > 0).sum() - 1) / (2 * count))
        varies = (mean > 0) & (mean < 1)
        return torch.mean(entropy + torch.special.entr(1 - mean) + varies / (2 * count))


class Chance:
    """The chance loss over all batches so far."""

    def __init__(self) -> None:
        self._sum: Tensor | None = None  # of moments times counts
        self._count: Tensor | None = None
        self._function = ""  # whose targets they are

    def read(self, term: Term, *, add: bool) -> tuple[Tensor, Tensor]:
        """Return it, and the largest mean target, both () over all batches that were added and
        `term`'s; with `add`, keep that too.

        Of classes, the largest mean target is the share of the most frequent class.
        """
        total, count = term.moments * term.count, term.count
        alike = self._sum is not None and self._sum.shape == total.shape
        alike &= self._function == term.function.__name__
        if alike and self._sum is not None and self._count is not None:
            total, count = self._sum.to(total.device) + total, self._count.to(count.device) + count
        if add:
            self._sum, self._count, self._function = total, count, term.function.__name__
        moments = total / count
        return term.chance(moments, count), moments[0].max()

    def state_dict(self) -> dict[str, Any]:
        """Return the state to save in a checkpoint."""
        return {"sum": self._sum, "count": self._count, "function": self._function}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the state from a checkpoint."""
        self._sum, self._count = state["sum"], state["count"]
        self._function = state["function"]


@torch.no_grad()
def term_of(
    function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Term | None:
    """Return what a call of a loss function tells; None if it is of another kind.

    The value leaves out class weights, label smoothing and the like, and is a mean, whatever
    `reduction` was asked for. It costs one more evaluation of the loss function.
    """
    if function not in _TARGETS:
        return None
    given = dict(zip(_parameters(function), args, strict=False)) | dict(kwargs)
    outputs, target = given.get("input"), given.get("target")
    if not isinstance(outputs, Tensor) or not isinstance(target, Tensor):
        return None
    if any(map(torch._C._functorch.is_functorch_wrapped_tensor, (outputs, target))):
        return None  # within vmap or grad of torch.func
    if given.get("weight") is not None or given.get("pos_weight") is not None:
        return None  # the best constant is then another one
    if function is F.mse_loss and target.requires_grad and not outputs.requires_grad:
        outputs, target = target, outputs
    if target.requires_grad or not target.numel() or outputs.ndim < 1:
        return None  # it is no target, but another output of the net
    wide = torch.float32 if outputs.device.type == "mps" else torch.float64
    options: dict[str, Any] = {}
    hits = None
    if _TARGETS[function] == "classes" and not target.is_floating_point():
        target = target.long()
        ignored = given.get("ignore_index", -100)
        options = {"ignore_index": ignored}
        count = outputs.shape[1 if outputs.ndim > 1 else 0]
        counted = (target != ignored).flatten().to(wide)
        shares = torch.zeros(min(count, _OUTPUTS + 1), dtype=wide, device=outputs.device)
        if count <= _OUTPUTS:
            shares.scatter_add_(0, target.flatten().clamp(0, count - 1), counted)
        number = counted.sum()
        moments = (shares / number.clamp(min=1)).expand(2, -1)
        right = outputs.argmax(1 if outputs.ndim > 1 else 0) == target
        hits = (right.flatten() * counted).sum() / number
    elif target.shape != outputs.shape or not target.is_floating_point():
        return None
    else:
        flat = target.to(wide)
        if _TARGETS[function] == "classes" and flat.ndim > 1:
            flat = flat.movedim(1, -1).flatten(0, -2)
        flat = flat.reshape(len(flat), -1) if flat.ndim else flat.view(1, 1)
        target = target.to(torch.promote_types(target.dtype, torch.float32))
        number = torch.full((), len(flat), dtype=wide, device=flat.device)
        moments = torch.stack([flat.mean(dim=0), (flat * flat).mean(dim=0)])
    if moments.shape[1] > _OUTPUTS:
        return None
    plain = outputs.detach().to(torch.promote_types(outputs.dtype, torch.float32))
    options |= {name: given[name] for name in ("var", "log_input", "eps") if name in given}
    value = function(plain, target, **options)
    return Term(outputs, function, value.detach(), moments, number, hits)


@functools.cache
def _parameters(function: Callable[..., Any]) -> tuple[str, ...]:
    return tuple(inspect.signature(function).parameters)
