"""One call of a module, noted so that it can be repeated in eager mode, as if never compiled.

Noted are inputs, buffers, random and autocast states, and the gradients that reach the outputs. The
repetition works on copies of all that it could change. Parameters are not copied: repeat before the
optimizer acts.

It knows modules and tensors. It knows nothing of compilers, of hooks, or of what the repetition is
for.
"""

from __future__ import annotations

import random
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
class _Surroundings:
    """What a pass depends on beside its inputs and parameters."""

    buffers: dict[str, Tensor]
    random: list[tuple[Callable[[Any], object], Any]]
    autocast: list[tuple[str, bool, torch.dtype]]
    default_dtype: torch.dtype

    @classmethod
    def of(cls, module: nn.Module, device: torch.device) -> _Surroundings:
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
    """One call of `module`, to be repeated exactly and with its gradients.

    Not `exactly`, nothing is copied: inputs are borrowed, buffers and states those of then.
    """

    module: nn.Module
    inputs: tuple[tuple[Any, ...], dict[str, Any]]
    exactly: bool
    _surroundings: _Surroundings | None = None
    _gradients: dict[int, Tensor] = field(default_factory=dict)  # by place among the outputs

    def __post_init__(self) -> None:
        if self.exactly:
            self.inputs = tree_map_only(Tensor, _copy_as_leaf, self.inputs)
            self._surroundings = _Surroundings.of(self.module, self._device())

    def returned(self, output: Any) -> None:
        """Note the gradients that reach `output`."""
        if not self.exactly:
            return
        for place, x in enumerate(tree_leaves(output)):
            if isinstance(x, Tensor) and x.requires_grad:
                x.register_hook(partial(self._reached, place))  # type: ignore[no-untyped-call]

    def repeat(self) -> tuple[list[Tensor], list[Tensor]]:
        """Pass again, uncompiled; return outputs that a gradient has reached, and the gradients.

        Buffers and random states are afterwards what they were before.
        """
        # Copies here too: a module that works in place may do so on its input.
        arguments, keywords = tree_map_only(Tensor, _copy_within_graph, self.inputs)
        surroundings = self._surroundings or _Surroundings.of(self.module, self._device())
        buffers = {name: buffer.clone() for name, buffer in surroundings.buffers.items()}
        with _restored(surroundings, self._device()), torch.enable_grad():
            output = functional_call(self.module, buffers, arguments, keywords)
        leaves = tree_leaves(output)
        reached = {i: g for i, g in self._gradients.items() if leaves[i].requires_grad}
        return [leaves[i] for i in reached], list(reached.values())

    def _reached(self, place: int, gradient: Tensor | None) -> None:
        if gradient is not None:  # an output that is not used, of a function that has others
            self._gradients[place] = gradient.clone()  # autograd may go on to write into it

    def _device(self) -> torch.device:
        tensors = [*self.module.parameters(), *tree_leaves(self.inputs)]
        return next((x.device for x in tensors if isinstance(x, Tensor)), torch.device("cpu"))


def _copy_as_leaf(x: Tensor) -> Tensor:
    return x.detach().clone().requires_grad_(x.requires_grad)


def _copy_within_graph(x: Tensor) -> Tensor:
    return x.detach().requires_grad_(x.requires_grad).clone()


def _random_states(device: torch.device) -> list[tuple[Callable[[Any], object], Any]]:
    """Every state that a pass may draw from, each behind the function that puts it back."""
    states: list[tuple[Callable[[Any], object], Any]] = [
        (random.setstate, random.getstate()),
        (np.random.set_state, np.random.get_state()),
        (torch.set_rng_state, torch.get_rng_state()),
    ]
    if device.type != "cpu":
        of_device = torch.get_device_module(device)
        states.append((of_device.set_rng_state, of_device.get_rng_state()))
    return states


@contextmanager
def _restored(surroundings: _Surroundings, device: torch.device) -> Iterator[None]:
    """Run eagerly as in those surroundings, and leave the present ones as they are."""
    present, dtype = _random_states(device), torch.get_default_dtype()
    try:
        with ExitStack() as stack:
            stack.enter_context(torch.compiler.set_stance("force_eager"))
            for kind, enabled, precision in surroundings.autocast:
                stack.enter_context(torch.autocast(kind, precision, enabled))
            torch.set_default_dtype(surroundings.default_dtype)
            for put_back, state in surroundings.random:
                put_back(state)
            yield
    finally:
        torch.set_default_dtype(dtype)
        for put_back, state in present:
            put_back(state)
