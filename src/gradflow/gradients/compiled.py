"""The parts of a net that `torch.compile` has made opaque: where they are, and passing them again.

A part is an outermost module that `torch.compile` returned, or whose own `compile()` was called.
Its calls in the training pass are noted, and can be repeated without the compiler, where hooks
inside see everything. Not a part: the watched module itself where its own `compile()` was called
(a LightningModule's training_step does not go through that), and a LightningModule that was given
to `torch.compile` (its training_step is compiled, whose effects must not be had twice).

A repetition is made by one process, so it is none where a pass waits for others: with SyncBatchNorm
in several processes, or with sharded parameters.

It knows modules, `torch.compile` and processes. It knows nothing of what hooks look for.
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
    """The compiled parts of `root`; `close` leaves them as they were.

    `passed` says how many layers the training pass has gone through so far, outside of parts.
    """

    def __init__(self, root: nn.Module, passed: Callable[[], int]) -> None:
        self._passed = passed
        self._names: set[str] = set()
        self._undo: list[Callable[[], None]] = []
        self._calls: list[tuple[int, Call]] = []
        self._exactly = False
        self.repeating = False
        for name, module in root.named_modules():
            in_place = module is not root and module._compiled_call_impl is not None
            if name not in self and (in_place or isinstance(module, OptimizedModule)):
                self._names.add(name)
                twin = _without_wrappers(module)
                if not _needs_other_processes(twin):
                    self._note_calls(module, twin)

    def __contains__(self, name: str) -> bool:
        """Say whether the module of that name is a part or lies in one."""
        return any(not part or f"{name}.".startswith(f"{part}.") for part in self._names)

    def start(self, exactly: bool) -> None:
        """Begin a batch; with `exactly` its calls can be repeated with their gradients."""
        self._exactly = exactly
        self._calls.clear()

    def forget(self) -> None:
        """Let go of inputs that were only borrowed."""
        if not self._exactly:
            self._calls.clear()

    def close(self) -> None:
        """Leave the modules as they were."""
        for undo in self._undo:
            undo()
        self._undo.clear()
        self._calls.clear()

    @contextmanager
    def again(
        self, hooks: Sequence[Callable[[], RemovableHandle]]
    ) -> Iterator[list[tuple[int, Call]]]:
        """Set `hooks`, and give each call, to be repeated, with how many layers preceded it."""
        with ExitStack() as stack:
            for register in hooks if self._calls else ():
                stack.callback(register().remove)
            self.repeating = True
            stack.callback(setattr, self, "repeating", False)
            yield self._calls

    def _note_calls(self, module: nn.Module, twin: nn.Module) -> None:
        noted: list[Call | None] = [None]

        def before(module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
            if not torch.compiler.is_compiling():  # all of this may be part of something compiled
                noted[0] = self._note(twin, arguments, keywords)

        def after(module: nn.Module, arguments: Any, keywords: Any, output: Any) -> None:
            if not torch.compiler.is_compiling() and noted[0] is not None:
                noted[0].returned(output)
                noted[0] = None

        if isinstance(module, OptimizedModule):  # its own hooks are outside of what is compiled
            handles = (
                module.register_forward_pre_hook(before, with_kwargs=True),
                module.register_forward_hook(after, with_kwargs=True),
            )
            self._undo += [handle.remove for handle in handles]
            return
        # Of a module that is compiled in place the hooks are compiled as well: get in front.
        compiled: Any = module._compiled_call_impl

        def call(*arguments: Any, **keywords: Any) -> Any:
            before(module, arguments, keywords)
            output = compiled(*arguments, **keywords)
            after(module, arguments, keywords, output)
            return output

        module._compiled_call_impl = call
        self._undo.append(partial(setattr, module, "_compiled_call_impl", compiled))

    def _note(
        self, twin: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]
    ) -> Call | None:
        # Validation is not watched.
        if self.repeating or not torch.is_grad_enabled():
            return None
        call = Call(twin, (arguments, keywords), self._exactly)
        self._calls.append((self._passed(), call))
        return call


def uncompiled_name(name: str) -> str:
    """Return the name without what `torch.compile` adds to it."""
    return ".".join(part for part in name.split(".") if part != "_orig_mod")


def _without_wrappers(module: nn.Module) -> nn.Module:
    # DDP too: it prepares for a backward of all processes.
    while isinstance(module, (OptimizedModule, DistributedDataParallel)):
        module = module._orig_mod if isinstance(module, OptimizedModule) else module.module
    return module


def _needs_other_processes(module: nn.Module) -> bool:
    """Say whether a pass waits for processes that would not join in a second one."""
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return False
    # Sharded parameters have a class (FSDP 2) or at least a mark (FSDP 1) of their own.
    waiting = (nn.SyncBatchNorm, DistributedDataParallel)
    return any(isinstance(inner, waiting) for inner in module.modules()) or any(
        type(parameter) is not nn.Parameter or hasattr(parameter, "_fsdp_flattened")
        for parameter in module.parameters()
    )
