"""See what a net calls as a function: nonlinearities, such as `F.relu(x)`, and losses.

This file knows torch's functions. It does not know which module calls them, nor what is measured.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import (
    TorchFunctionMode,
    _get_current_function_mode_stack,
    _pop_mode,
    _push_mode,
)

# For each function the module with the same formula, built from the arguments behind the input.
_MODULES: dict[Callable[..., Any], tuple[type[nn.Module], tuple[str, ...]]] = {}
for _functions, _kind, _arguments in (
    ((F.relu, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_), nn.ReLU, ()),
    ((F.relu6,), nn.ReLU6, ()),
    ((F.leaky_relu, F.leaky_relu_), nn.LeakyReLU, ("negative_slope",)),
    ((F.rrelu, F.rrelu_, torch.rrelu, torch.rrelu_), nn.RReLU, ("lower", "upper")),
    ((F.elu, F.elu_), nn.ELU, ("alpha",)),
    ((F.selu, F.selu_, torch.selu, torch.selu_), nn.SELU, ()),
    ((F.celu, F.celu_, torch.celu, torch.celu_), nn.CELU, ("alpha",)),
    ((F.gelu,), nn.GELU, ("approximate",)),
    ((F.silu,), nn.SiLU, ()),
    ((F.mish,), nn.Mish, ()),
    ((F.softplus,), nn.Softplus, ("beta", "threshold")),
    ((F.hardtanh, F.hardtanh_), nn.Hardtanh, ("min_val", "max_val")),
    ((torch.tanh, torch.tanh_, Tensor.tanh, Tensor.tanh_), nn.Tanh, ()),
    (
        (torch.sigmoid, torch.sigmoid_, Tensor.sigmoid, Tensor.sigmoid_, torch.special.expit),
        nn.Sigmoid,
        (),
    ),
    ((F.softsign,), nn.Softsign, ()),
    ((F.logsigmoid,), nn.LogSigmoid, ()),
    ((F.hardsigmoid,), nn.Hardsigmoid, ()),
    ((F.hardswish,), nn.Hardswish, ()),
    ((F.hardshrink, torch.hardshrink, Tensor.hardshrink), nn.Hardshrink, ("lambd",)),
    ((F.softshrink,), nn.Softshrink, ("lambd",)),
    ((F.tanhshrink,), nn.Tanhshrink, ()),
    (
        (F.threshold, torch.threshold, torch.threshold_),
        nn.Threshold,
        ("threshold", "value"),
    ),
):
    for _function in _functions:
        _MODULES[_function] = _kind, _arguments
NONLINEARITIES: tuple[type[nn.Module], ...] = (
    *dict.fromkeys(module for module, _ in _MODULES.values()),
    nn.PReLU,
)

# Losses whose first argument is what the net puts out.
_LOSSES = {
    *(F.cross_entropy, F.binary_cross_entropy_with_logits, F.mse_loss, F.l1_loss, F.huber_loss),
    *(F.smooth_l1_loss, F.multi_margin_loss, F.multilabel_margin_loss, F.soft_margin_loss),
    *(F.multilabel_soft_margin_loss, F.poisson_nll_loss, F.gaussian_nll_loss),
}
# Losses of probabilities or their logarithms, and the functions that compute these from logits.
_PROBABILITY_LOSSES = {F.nll_loss, F.binary_cross_entropy, F.kl_div}
_PROBABILITIES = {
    *(F.log_softmax, torch.log_softmax, Tensor.log_softmax, F.softmax, torch.softmax),
    *(Tensor.softmax, F.logsigmoid, torch.sigmoid, Tensor.sigmoid),
}
# What takes probabilities inside of a net: those are no outputs.
_INNER = {
    *(F.linear, F.conv1d, F.conv2d, F.conv3d, F.conv_transpose1d, F.conv_transpose2d),
    *(F.conv_transpose3d, F.dropout, torch.matmul, torch.bmm, Tensor.matmul, Tensor.bmm),
    Tensor.__matmul__,
}
_NORMALIZATIONS = {
    *(F.batch_norm, F.layer_norm, F.group_norm, F.instance_norm, F.rms_norm, F.normalize),
    *(F.local_response_norm, torch.batch_norm, torch.layer_norm, torch.group_norm),
}


class FunctionCalls(TorchFunctionMode):
    """Between `open` and `close`, tell of each call, before the function itself is called.

    `nonlinearity(name, module, z)` gets the function's name, the module with its formula, and its
    input; `loss(logits, function, args, kwargs)` the tensor that enters a loss, before a softmax or
    sigmoid of its own, and the call. `returned(output)` follows a nonlinearity, and `normalized()`
    a normalization. The functions are called as if nobody watched.
    """

    def __init__(
        self,
        nonlinearity: Callable[[str, nn.Module, Tensor], None],
        loss: Callable[[Tensor, Any, Sequence[Any], dict[str, Any]], None],
        returned: Callable[[Any], None] = lambda _: None,
        normalized: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__()
        self._nonlinearity = nonlinearity
        self._loss = loss
        self._returned = returned
        self._normalized = normalized
        self._probabilities: list[tuple[Any, Any]] = []  # with the logits that they come from

    def open(self) -> None:
        """Begin to watch, in this thread."""
        self._probabilities.clear()
        # Below the modes of others, who leave theirs when they like.
        others = _popped(lambda mode: True)
        _push_mode(self)  # type: ignore[no-untyped-call]
        for mode in reversed(others):
            _push_mode(mode)  # type: ignore[no-untyped-call]

    def close(self) -> None:
        """Watch no more. Does nothing unless it is open."""
        self._probabilities.clear()
        stack = _get_current_function_mode_stack()  # type: ignore[no-untyped-call]
        if any(mode is self for mode in stack):
            *others, _ = _popped(lambda mode: mode is not self)
            for mode in reversed(others):
                _push_mode(mode)  # type: ignore[no-untyped-call]

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        """Call `func`."""
        kwargs = kwargs or {}
        if torch.compiler.is_compiling():
            return func(*args, **kwargs)
        x = args[0] if args else kwargs.get("input")
        module = None
        if func in _MODULES and isinstance(x, Tensor):
            module = _module(func, args[1:], kwargs)
            if module is not None:
                self._nonlinearity(func.__name__.rstrip("_"), module, x)
        elif func in _LOSSES and isinstance(x, Tensor):
            target = args[1] if len(args) > 1 else kwargs.get("target")
            swapped = not x.requires_grad and isinstance(target, Tensor) and target.requires_grad
            self._loss(target if swapped else x, func, args, kwargs)
        elif func in _PROBABILITY_LOSSES:
            logits = next((logits for p, logits in self._probabilities if p is x), x)
            self._loss(logits, func, args, kwargs)
        elif func in _INNER and self._probabilities:
            # What they come from is a whole batch that nothing else keeps: let its memory be used.
            self._probabilities = [kept for kept in self._probabilities if kept[0] is not x]
        found = func(*args, **kwargs)
        if module is not None:
            self._returned(found)
        elif func in _NORMALIZATIONS:
            self._normalized()
        if func in _PROBABILITIES:
            self._probabilities.append((found, x))
        return found


def _popped(go_on: Callable[[Any], bool]) -> list[Any]:
    """Pop modes off the stack while `go_on` holds of them, and the one that ends it."""
    popped = []
    for _ in range(len(_get_current_function_mode_stack())):  # type: ignore[no-untyped-call]
        popped.append(_pop_mode())  # type: ignore[no-untyped-call]
        if not go_on(popped[-1]):
            break
    return popped


def _module(
    function: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]
) -> nn.Module | None:
    """Return the module with the formula of this call; None if its arguments are unusual."""
    kind, names = _MODULES[function]
    values = dict(zip(names, args, strict=False))
    values |= {name: kwargs[name] for name in names if name in kwargs}
    try:
        return _built(kind, tuple(values.items()))  # type: ignore[arg-type]
    except Exception:  # a tensor where a number is expected, and the like
        return None


@functools.lru_cache(maxsize=256)
def _built(kind: type[nn.Module], arguments: tuple[tuple[str, Any], ...]) -> nn.Module:
    return kind(**dict(arguments))
