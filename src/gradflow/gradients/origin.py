"""Find the layer at which a pass first became NaN or Inf, by passing its inputs once more.

A training step stores no more than a reference to what enters the outermost modules. Only if the
loss turns out non-finite are these modules called again, forward only, with buffers, attributes and
random states put back. Modules that wait for other processes, or that raise, tell nothing.

This file knows modules and tensors. It knows nothing of Lightning or records.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch._dynamo import OptimizedModule
from torch.utils._pytree import tree_leaves
from torch.utils.hooks import RemovableHandle

from gradflow.gradients.compiled import needs_other_processes, uncompiled_name, without_wrappers
from gradflow.gradients.functions import FunctionCalls
from gradflow.gradients.modules import (
    Hook,
    has_fast_path,
    is_nonlinearity,
    is_transparent,
    is_weight_layer,
)
from gradflow.gradients.replay import Call


class Origin:
    """Keep the inputs of the outermost modules of `root`, from `open` to `close`."""

    def __init__(self, root: nn.Module) -> None:
        self._root = root
        self._calls: list[tuple[str, Call]] = []
        self._depth = 0
        self._handles: list[RemovableHandle] = []

    def open(self) -> None:
        """Set the hooks."""
        self.close()
        for name, module in (("", self._root), *self._root.named_children()):
            if isinstance(module, torch.jit.ScriptModule) or has_fast_path(module):
                continue
            if module._compiled_call_impl is not None and not isinstance(module, OptimizedModule):
                continue  # its hooks would be compiled
            entering, leaving = Hook(partial(self._entering, name)), Hook(self._leaving)
            self._handles += [
                module.register_forward_pre_hook(entering, with_kwargs=True),
                module.register_forward_hook(leaving),
            ]

    def forget(self) -> None:
        """Drop the references of the finished pass."""
        self._calls.clear()
        self._depth = 0

    def close(self) -> None:
        """Remove the hooks."""
        self.forget()
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def find(self) -> str | None:
        """Return the first layer with a non-finite z since `forget`, or None. Waits for devices."""
        calls, self._calls = self._calls, []
        outputs: list[str] = []
        for name, call in calls:
            if not needs_other_processes(call.module):
                layer, output = _Search(name, call.module).run(call)
                if layer is not None:
                    return layer
                outputs += [] if output is None else [output]
        return outputs[0] if outputs else None

    def _entering(self, name: str, module: nn.Module, args: Any, kwargs: Any) -> None:
        if is_transparent(module, self._root) or not torch.is_grad_enabled():
            return
        if self._depth == 0:
            twin = without_wrappers(module)
            self._calls.append((name, Call(twin, (args, kwargs), exactly=False)))
        self._depth += 1

    def _leaving(self, module: nn.Module, *_: Any) -> None:
        if not is_transparent(module, self._root) and torch.is_grad_enabled():
            self._depth -= 1


class _Search:
    """One repeated call of `module`, called `name` in its net."""

    def __init__(self, name: str, module: nn.Module) -> None:
        self._name, self._module = name, module
        self._bad: str | None = None
        self._stack: list[str] = []
        self._returned: list[tuple[str, Tensor]] = []  # by weight layers

    def run(self, call: Call) -> tuple[str | None, str | None]:
        """Return the first bad nonlinearity, and the name of what is returned if that is bad."""
        functions = FunctionCalls(self._function, lambda *_: None)
        handles = []
        for inner, module in self._module.named_modules():
            if isinstance(module, torch.jit.ScriptModule):
                continue
            name = uncompiled_name(f"{self._name}.{inner}".strip("."))
            handles.append(module.register_forward_pre_hook(partial(self._entering, name)))
            handles.append(module.register_forward_hook(partial(self._leaving, name)))
        functions.open()
        try:
            with torch.no_grad():
                output = call.output()
        except Exception:  # of the net's own code, whose state was perhaps not put back
            return self._bad, None
        finally:
            functions.close()
            for handle in handles:
                handle.remove()
        for x in tree_leaves(output):
            if _is_bad(x):
                known = (name for name, returned in self._returned if returned is x)
                return self._bad, next(known, self._name or None)
        return self._bad, None

    def _entering(self, name: str, module: nn.Module, inputs: Any) -> None:
        self._stack.append(name)
        if inputs and is_nonlinearity(name, module):
            self._see(name, inputs[0])

    def _leaving(self, name: str, module: nn.Module, inputs: Any, output: Any) -> None:
        self._stack.pop()
        if is_weight_layer(module) and isinstance(output, Tensor):
            self._returned.append((name, output))

    def _function(self, name: str, module: nn.Module, z: Tensor) -> None:
        where = self._stack[-1] if self._stack else self._name
        self._see(f"{where}.{name}".lstrip("."), z)

    def _see(self, name: str, z: Any) -> None:
        if self._bad is None and _is_bad(z):
            self._bad = name


def _is_bad(x: Any) -> bool:
    return isinstance(x, Tensor) and x.is_floating_point() and not bool(torch.isfinite(x).all())
