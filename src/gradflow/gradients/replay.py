"""Save one call of a module, so that it can be repeated in eager mode, as if never compiled.

Saved are inputs, buffers, random and autocast states, and the gradients that reach the outputs. The
repetition works on copies of everything that it could change. Parameters are not copied, so repeat
the call before the optimizer acts.

This file knows modules and tensors. It knows nothing of compilers or hooks.
"""

from __future__ import annotations

import copy
import random
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._pytree import tree_leaves, tree_map_only


@dataclass
class _Environment:
    """Everything that a pass depends on except its inputs and parameters."""

    buffers: dict[str, Tensor]
    random: list[tuple[Callable[[Any], object], Any]]
    autocast: list[tuple[str, bool, torch.dtype]]
    default_dtype: torch.dtype

    @classmethod
    def capture(cls, module: nn.Module, device: torch.device) -> _Environment:
        return cls(
            buffers={name: buffer.clone() for name, buffer in module.named_buffers()},
            random=_random_states(device),
            autocast=[
                (kind, torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind))
                for kind in sorted({"cpu", device.type})
                if torch.amp.is_autocast_available(kind)
            ],
            default_dtype=torch.get_default_dtype(),
        )


@dataclass
class Call:
    """One call of `module`. With `exactly`, it can be repeated exactly and with its gradients.

    Otherwise nothing is copied: the repetition uses the same inputs, and the buffers and states
    that it finds.
    """

    module: nn.Module
    inputs: tuple[tuple[Any, ...], dict[str, Any]]
    exactly: bool
    _environment: _Environment | None = None
    _gradients: dict[int, Tensor] = field(default_factory=dict)  # by place among the outputs

    def __post_init__(self) -> None:
        if self.exactly:
            self.inputs = tree_map_only(Tensor, _copy_as_leaf, self.inputs)
            self._environment = _Environment.capture(self.module, self._device())

    def returned(self, output: Any) -> None:
        """Save the gradients that reach `output`."""
        if not self.exactly:
            return
        for place, x in enumerate(tree_leaves(output)):
            if isinstance(x, Tensor) and x.requires_grad:
                x.register_hook(partial(self._reached, place))  # type: ignore[no-untyped-call]

    def repeat(self) -> tuple[list[Tensor], list[Tensor]]:
        """Repeat the call uncompiled; return the outputs that got a gradient, and the gradients.

        Buffers and random states are restored.
        """
        with torch.enable_grad():
            leaves = tree_leaves(self.output())
        reached = {i: g for i, g in self._gradients.items() if leaves[i].requires_grad}
        return [leaves[i] for i in reached], list(reached.values())

    def output(self) -> Any:
        """Repeat the call uncompiled; return what it returns.

        Buffers, the attributes of modules and random states are restored.
        """
        # Copies here too: a module may change its input in place.
        arguments, keywords = tree_map_only(Tensor, _copy_within_graph, self.inputs)
        environment = self._environment or _Environment.capture(self.module, self._device())
        buffers = {name: buffer.clone() for name, buffer in environment.buffers.items()}
        with _restored(environment, self._device()), _attributes_restored(self.module):
            return functional_call(self.module, buffers, arguments, keywords)

    def _reached(self, place: int, gradient: Tensor | None) -> None:
        if gradient is not None:  # None for an unused output
            self._gradients[place] = gradient.clone()  # autograd may still write into it

    def _device(self) -> torch.device:
        tensors = [*self.module.parameters(), *tree_leaves(self.inputs)]
        return next((x.device for x in tensors if isinstance(x, Tensor)), torch.device("cpu"))


@contextmanager
def _attributes_restored(root: nn.Module) -> Iterator[None]:
    """Put back what modules keep: attributes, what these hold, and small frozen parameters.

    Attributes are followed into lists, dictionaries, sets and deques, to tensors and to generators
    of random numbers. Other objects are not copied.
    """
    modules = list(root.modules())
    before = [dict(vars(module)) for module in modules]
    undo: list[Callable[[], object]] = []
    seen: set[int] = set()
    for module, attributes in zip(modules, before, strict=True):
        for name, value in attributes.items():
            if name not in ("_buffers", "_modules", "_parameters"):
                undo += _undo(value, seen)
        for parameter in module.parameters(recurse=False):
            if not parameter.requires_grad and parameter.numel() <= _SMALL:
                undo += _undo(parameter, seen)
    try:
        yield
    finally:
        for module, attributes in zip(modules, before, strict=True):
            vars(module).clear()
            vars(module).update(attributes)
        with torch.no_grad():
            for restore in undo:
                restore()


_SMALL = 2**16  # elements of a frozen parameter, such as a codebook, that a pass may change


def _undo(value: Any, seen: set[int]) -> list[Callable[[], object]]:
    """Return functions that put back the present state of a value."""
    if id(value) in seen:
        return []
    seen.add(id(value))
    if isinstance(value, Tensor):
        if type(value) not in _PLAIN:
            return []
        return [partial(_refill_tensor, value, value.detach().clone(), value._version)]
    if isinstance(value, torch.Generator):
        return [partial(value.set_state, value.get_state())]
    if isinstance(value, np.random.Generator):
        state = copy.deepcopy(value.bit_generator.state)
        return [partial(setattr, value.bit_generator, "state", state)]
    if not isinstance(value, (list, dict, set, deque)):
        return []
    inner = value.values() if isinstance(value, dict) else value
    undo = [restore for item in inner for restore in _undo(item, seen)]
    return [partial(_refill, value, copy.copy(value)), *undo]


_PLAIN = (Tensor, nn.Parameter)


def _refill_tensor(x: Tensor, content: Tensor, version: int) -> None:
    if x._version != version:
        x.data.copy_(content)  # `data`, since a graph may have saved what is there


def _refill(container: Any, content: Any) -> None:
    container.clear()
    if isinstance(container, (list, deque)):
        container.extend(content)
    else:
        container.update(content)


def _copy_as_leaf(x: Tensor) -> Tensor:
    return x.detach().clone().requires_grad_(x.requires_grad)


def _copy_within_graph(x: Tensor) -> Tensor:
    return x.detach().requires_grad_(x.requires_grad).clone()


def _random_states(device: torch.device) -> list[tuple[Callable[[Any], object], Any]]:
    """Return every random state that a pass may use, each with the function that restores it."""
    states: list[tuple[Callable[[Any], object], Any]] = [
        (random.setstate, random.getstate()),
        (np.random.set_state, np.random.get_state()),
        (torch.set_rng_state, torch.get_rng_state()),
    ]
    if device.type != "cpu":
        backend = torch.get_device_module(device)
        states.append((backend.set_rng_state, backend.get_rng_state()))
    return states


@contextmanager
def _restored(environment: _Environment, device: torch.device) -> Iterator[None]:
    """Run the block in eager mode in `environment`, and restore the present one afterwards."""
    present, dtype = _random_states(device), torch.get_default_dtype()
    try:
        with ExitStack() as stack:
            stack.enter_context(torch.compiler.set_stance("force_eager"))
            for kind, enabled, precision in environment.autocast:
                stack.enter_context(torch.autocast(kind, precision, enabled))
            torch.set_default_dtype(environment.default_dtype)
            for restore, state in environment.random:
                restore(state)
            yield
    finally:
        torch.set_default_dtype(dtype)
        for restore, state in present:
            restore(state)
