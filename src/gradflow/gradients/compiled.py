"""Find the parts of a net that `torch.compile` made opaque, and repeat their calls uncompiled.

A part is an outermost module that `torch.compile` returned, or whose own `compile()` was called.
Its calls in the training pass are saved and can be repeated without the compiler, so that hooks
inside see everything. Two modules are not parts. One is the watched module, if its own `compile()`
was called: training_step does not go through that. The other is a LightningModule given to
`torch.compile`: its training_step is compiled, and its side effects must not happen twice.

One process repeats a call alone. So parts whose pass waits for other processes are not repeated:
those with SyncBatchNorm in several processes, or with sharded parameters.

This file knows modules, `torch.compile` and processes. It does not know what the hooks measure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch._dynamo import OptimizedModule
from torch.nn.parallel import DistributedDataParallel
from torch.utils.hooks import RemovableHandle

from gradflow.gradients.replay import Call


class CompiledParts:
    """Find the compiled parts of `root` and save their calls; `close` restores the modules.

    `passed` returns how many layers outside parts the training pass has gone through so far.
    `safe` makes of a function one that may be called within a pass, whatever it raises.
    """

    def __init__(
        self,
        root: nn.Module,
        passed: Callable[[], int],
        safe: Callable[[Callable[..., None]], Callable[..., None]],
    ) -> None:
        self._passed = passed
        self._safe = safe
        self._names: set[str] = set()
        self._undo: list[Callable[[], None]] = []
        self._calls: list[tuple[int, Call]] = []
        self._saving = False
        self.repeating = False
        for name, module in root.named_modules():
            in_place = module is not root and module._compiled_call_impl is not None
            if name not in self and (in_place or isinstance(module, OptimizedModule)):
                self._names.add(name)
                twin = without_wrappers(module)
                if not needs_other_processes(twin):
                    self._save_calls(module, twin)

    def __contains__(self, name: str) -> bool:
        """Return whether the module called `name` is a part or lies in one."""
        return any(not part or f"{name}.".startswith(f"{part}.") for part in self._names)

    def __bool__(self) -> bool:
        return bool(self._names)

    def start(self, saving: bool) -> None:
        """Forget the calls so far; with `saving`, save those that follow."""
        self._saving = saving
        self._calls.clear()

    def close(self) -> None:
        """Restore the modules."""
        for undo in self._undo:
            undo()
        self._undo.clear()
        self._calls.clear()

    @contextmanager
    def again(
        self, hook: Callable[[], Sequence[RemovableHandle]]
    ) -> Iterator[list[tuple[int, Call]]]:
        """Set hooks, and yield each saved call with the number of layers before it."""
        with ExitStack() as stack:
            for handle in hook() if self._calls else ():
                stack.callback(handle.remove)
            self.repeating = True
            stack.callback(setattr, self, "repeating", False)
            yield self._calls

    def _save_calls(self, module: nn.Module, twin: nn.Module) -> None:
        saved: list[Call | None] = [None]

        def before(module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
            if not torch.compiler.is_compiling():  # an outer module may be compiled
                saved[0] = self._save(twin, arguments, keywords)

        def after(module: nn.Module, arguments: Any, keywords: Any, output: Any) -> None:
            if not torch.compiler.is_compiling() and saved[0] is not None:
                saved[0].returned(output)
                saved[0] = None

        before, after = self._safe(before), self._safe(after)
        if isinstance(module, OptimizedModule):  # its own hooks are not compiled
            handles = (
                module.register_forward_pre_hook(before, with_kwargs=True),
                module.register_forward_hook(after, with_kwargs=True),
            )
            self._undo += [handle.remove for handle in handles]
            return
        # A module compiled in place compiles its hooks too, so wrap the compiled call instead.
        compiled: Any = module._compiled_call_impl

        def call(*arguments: Any, **keywords: Any) -> Any:
            before(module, arguments, keywords)
            output = compiled(*arguments, **keywords)
            after(module, arguments, keywords, output)
            return output

        module._compiled_call_impl = call
        self._undo.append(partial(setattr, module, "_compiled_call_impl", compiled))

    def _save(
        self, twin: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]
    ) -> Call | None:
        # Skip validation, which has no gradients.
        if not self._saving or self.repeating or not torch.is_grad_enabled():
            return None
        call = Call(twin, (arguments, keywords), exactly=True)
        self._calls.append((self._passed(), call))
        return call


def uncompiled_name(name: str) -> str:
    """Remove `_orig_mod`, which `torch.compile` adds, from a dotted name."""
    if "_orig_mod" not in name:
        return name
    return ".".join(part for part in name.split(".") if part != "_orig_mod")


def without_wrappers(module: nn.Module) -> nn.Module:
    """Return the module inside of `torch.compile` and DDP."""
    # DDP too: its forward prepares a backward pass of all processes.
    while isinstance(module, (OptimizedModule, DistributedDataParallel)):
        module = module._orig_mod if isinstance(module, OptimizedModule) else module.module
    return module


def needs_other_processes(module: nn.Module) -> bool:
    """Return whether a pass waits for processes that would not join a second one."""
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return False
    # Sharded parameters have their own class (FSDP 2) or attribute (FSDP 1).
    waiting = (nn.SyncBatchNorm, DistributedDataParallel)
    return any(isinstance(inner, waiting) for inner in module.modules()) or any(
        type(parameter) is not nn.Parameter or hasattr(parameter, "_fsdp_flattened")
        for parameter in module.parameters()
    )
