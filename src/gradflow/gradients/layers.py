"""Every layer's pre-activation z and its gradient dL/dz, read from a net's own training pass.

A layer is a nonlinearity, and z is its input. Nonlinearities are the elementwise activations of
`torch.nn`, the functions with the same formulas (`F.relu(x)`, `x.tanh()`), and modules of other
classes whose own name begins with `activation`, if they take one tensor and return one of its
shape. The last layer is the output of the net, where z is the logits: what enters the loss
function, else what the outermost module returned. If neither tells, it is unknown, not guessed.

Only the pass that the loss is computed from counts. A call whose z gets no gradient of the loss is
left out, whatever else runs in the same step: validation, inner loops, passes for logging.
Activation checkpointing repeats calls in the backward pass; each counts once. Compiled modules are
measured in a second, uncompiled pass. Its z differs from the compiled one by rounding, and by the
random numbers that inductor draws itself; functions called outside of them are not seen.

This file knows modules and tensors. It knows nothing of Lightning or records.
"""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, Node, get_gradient_edge
from torch.utils.hooks import RemovableHandle

from gradflow.gradients.chance import term_of
from gradflow.gradients.compiled import CompiledParts, uncompiled_name
from gradflow.gradients.functions import FunctionCalls
from gradflow.gradients.layer_values import OUTPUT, Call, LayerValues, layer_values
from gradflow.gradients.modules import (
    Hook,
    has_fast_path,
    has_no_layer_inside,
    is_measurable,
    is_nonlinearity,
    is_normalization,
    is_transparent,
    is_weight_layer,
)
from gradflow.gradients.paths import Layer, Place, in_a_row, places
from gradflow.gradients.units import is_known, unit_count

# What is measured covers the first IMAGES images of a batch, since batches are shuffled; of layers
# with one number for each unit and image, FEATURES. They are copied; ELEMENTS bounds the copy.
IMAGES, FEATURES, ELEMENTS = 8, 64, 2**17


class Returned(NamedTuple):
    """What a weight layer put out. It is not kept: that would cost a pass the memory of each z."""

    name: str
    output: weakref.ref[Tensor]
    node: Node | None


@dataclass
class LayerWatch:
    """Measure passes of `module`: `start`, the pass and its backward pass, `collect`.

    The net's results do not change, and between `collect` and the next `start` it has no hook,
    except on compiled parts. If these are measured, `collect` runs them once more, in eager mode
    and without gradients of weights, so it must be called before the weights change.
    """

    module: nn.Module
    images: int | None = IMAGES  # the first ones of each batch; None for all
    keep: tuple[str, ...] = ()  # "pre_activation", "activation": the keys of `tensors`
    # What is done with an error within a pass. It ends the measurement; None raises it, into the
    # pass of the net.
    on_error: Callable[[Exception], None] | None = None

    _compiled: CompiledParts = field(init=False)
    _functions: FunctionCalls = field(init=False)
    _frames: int = field(init=False)
    _handles: list[RemovableHandle] = field(default_factory=list)
    _calls: list[Call] = field(default_factory=list)
    _losses: list[Call] = field(default_factory=list)  # what entered a loss function
    _outputs: list[Call] = field(default_factory=list)  # of outermost modules
    _returned: list[Returned] = field(default_factory=list)  # by weight layers
    _losses_at: list[Node] = field(default_factory=list)
    _normalized: bool = False  # since the last layer
    _function_call: Call | None = None  # of a function that has not returned yet
    # The modules that are being called, each with whether its input is measured.
    _stack: list[tuple[str, bool]] = field(default_factory=list)
    _edges: list[GradientEdge] = field(default_factory=list)  # of each z in a second pass
    # Hooks on tensors, with their calls. A hook holds its call, and a call its tensor: a circle
    # through autograd's graph, which only `stop` breaks.
    _listening: list[tuple[RemovableHandle, Call]] = field(default_factory=list)
    _measuring: bool = False
    _in_loss: bool = False
    _failed: bool = False

    def __post_init__(self) -> None:
        self._compiled = CompiledParts(
            self.module, passed=lambda: len(self._calls), safe=self._safe
        )
        self._frames = torch._dynamo.convert_frame.FRAME_COUNTER  # compiled so far
        self._functions = FunctionCalls(
            self._safe(self._function),
            self._safe(self._loss),
            self._safe(self._function_returned),
            self._safe(self._note_normalization),
        )

    def start(self) -> None:
        """Begin to measure: the next pass counts."""
        self.stop()
        self._measuring = True
        self._compiled.start(saving=True)
        self._handles = self._hooked(inside=False)
        if not self._is_compiled() and not any(map(has_fast_path, self.module.modules())):
            self._functions.open()

    def _is_compiled(self) -> bool:
        """Whether anything is compiled: watching functions would compile that anew."""
        module: Any = self.module
        in_place = module._compiled_call_impl is not None
        # Lightning's mark of a LightningModule that was given to torch.compile.
        marked = bool(getattr(module, "_compiler_ctx", None))
        some_function = self._frames < torch._dynamo.convert_frame.FRAME_COUNTER
        return bool(self._compiled) or in_place or marked or some_function

    def stop(self) -> None:
        """Measure no more, and forget what was measured."""
        self._functions.close()
        for handle in self._handles:
            handle.remove()
        for handle, call in self._listening:
            handle.remove()
            call.source = None
        self._handles.clear()
        self._listening.clear()
        self._edges.clear()
        self._compiled.start(saving=False)
        for found in (self._calls, self._losses, self._outputs, self._returned, self._stack):
            found.clear()
        self._losses_at.clear()
        self._function_call = None
        self._measuring = self._in_loss = self._normalized = False

    def enter_backward(self, loss: Tensor | None = None) -> None:
        """Begin the backward pass of the loss. Its graph tells how the layers are connected."""
        self._in_loss = True
        if self._measuring and loss is not None and loss.grad_fn is not None:
            self._losses_at.append(loss.grad_fn)

    def leave_backward(self) -> None:
        """End the backward pass of the loss."""
        self._in_loss = False

    def collect(self, factor: Tensor | float = 1.0, *, go_on: bool = False) -> LayerValues | None:
        """Return the measurements, with dL/dz times `factor`; None if no layer was called.

        Does not wait for the device, and leaves the values there. Measuring ends, or with `go_on`
        continues for another loss of the same step, with the calls that this one did not reach.
        """
        if self._failed or not self._measuring:
            return None
        if not go_on:
            self._functions.close()
        last = self._pass_compiled_parts_again()
        calls = _of_the_loss(self._calls)
        logits = self._logits(last)
        if logits is not None:  # a sigmoid or softmax of the logits is no layer
            calls = [c for c in calls if c.taken is None or c.taken() is not logits.source]
        if logits is not None and _of_the_loss([*calls, logits])[-1:] != [logits]:
            logits = None  # other tensors got a gradient, and it did not
        collected = None
        if calls or logits is not None:
            calls, where = self._placed(calls)
            collected = layer_values(calls, where, logits, factor, self.keep)
        if go_on:
            self._calls = [call for call in self._calls if call.gradient is None]
            self._losses.clear()
        else:
            self.stop()
        return collected

    def close(self) -> None:
        """Remove every hook."""
        self.stop()
        self._compiled.close()

    def _placed(self, calls: list[Call]) -> tuple[list[Call], list[Place | None]]:
        """Return the calls that depend on the net's input, and their places."""
        trained = [call for call in calls if not call.frozen]
        layers = [
            Layer(call.node, call.output_node, call.outside)
            for call in trained
            if call.node is not None and call.output_node is not None
        ]
        weighted = [returned.node for returned in self._returned if returned.node is not None]
        known = bool(self._losses_at) and len(layers) == len(trained)
        # Anew in each record, since a net may change its wiring, or what is frozen.
        found = iter(places(layers, self._losses_at, weighted) if known else in_a_row(len(trained)))
        pairs = [(call, None if call.frozen else next(found)) for call in calls]
        kept = [(call, place) for call, place in pairs if place is not None or call.frozen]
        return [call for call, _ in kept], [place for _, place in kept]

    def _logits(self, last: Call | None) -> Call | None:
        """Return the call of the net's output; None if it is unknown."""
        losses = list({id(call.source): call for call in _of_the_loss(self._losses)}.values())
        if len(losses) == 1:
            return losses[0]
        returned = [id(call.source) for call in self._outputs]
        among = [call for call in losses if id(call.source) in returned]
        if losses:
            return among[0] if len(among) == 1 else None
        return self._outputs[-1] if self._outputs else last

    # What modules and functions tell.

    def _hooked(self, *, inside: bool) -> list[RemovableHandle]:
        """Set hooks on all modules outside of compiled parts, or inside of them."""
        handles = []
        entering, leaving = self._safe(self._entering), self._safe(self._leaving)
        leaf_returned = self._safe(self._leaf_returned)
        untouched: set[nn.Module] = set()
        for name, module in self.module.named_modules():
            if has_fast_path(module):
                untouched |= set(module.modules())
            if isinstance(module, (torch.jit.ScriptModule, torch._dynamo.OptimizedModule)):
                continue
            if module in untouched:
                continue
            if (name in self._compiled) is not inside:
                continue
            plain = uncompiled_name(name)
            if has_no_layer_inside(plain, module):
                handles.append(module.register_forward_hook(Hook(partial(leaf_returned, plain))))
                continue
            handles.append(module.register_forward_pre_hook(Hook(partial(entering, plain))))
            handles.append(module.register_forward_hook(Hook(partial(leaving, plain))))
        return handles

    def _entering(self, name: str, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        if is_transparent(module, self.module):
            return
        measured = False
        if is_nonlinearity(name, module) and len(inputs) == 1 and not self._is_inside():
            measured = self._enter(name, inputs[0], module)
        self._stack.append((name, measured))

    def _leaving(self, name: str, module: nn.Module, inputs: Any, output: Any) -> None:
        if is_transparent(module, self.module):
            return
        measured = False
        while self._stack:  # also modules that raised, inside of one that went on
            called, measured = self._stack.pop()
            if called == name:
                break
        if measured:
            self._nonlinearity_returned(name, module, inputs, output)
            self._may_be_output(module, output)
        else:
            self._leaf_returned(name, module, inputs, output)

    def _leaf_returned(self, name: str, module: nn.Module, inputs: Any, output: Any) -> None:
        """Note what a module returned that is not, or no longer, among those being called."""
        if is_transparent(module, self.module):
            return
        if is_weight_layer(module) and isinstance(output, Tensor):
            self._returned.append(Returned(name, weakref.ref(output), output.grad_fn))
        elif is_normalization(module):
            self._note_normalization()
        self._may_be_output(module, output)

    def _may_be_output(self, module: nn.Module, output: Any) -> None:
        outermost = not self._stack and not self._compiled.repeating
        if outermost and not isinstance(module, nn.modules.loss._Loss):
            self._may_be_logits(self._outputs, output)

    def _is_inside(self) -> bool:
        """Whether a measured nonlinearity is being called: what it calls is no layer."""
        return any(measured for _, measured in self._stack)

    def _nonlinearity_returned(
        self, name: str, module: nn.Module, inputs: Any, output: Any
    ) -> None:
        latest = next((call for call in reversed(self._calls) if call.name == name), None)
        if latest is None or latest.returned or latest.phi is not module:
            return
        if not isinstance(output, Tensor) or output.shape != inputs[0].shape:
            self._calls.remove(latest)  # not elementwise: no nonlinearity
            return
        latest.returned, latest.output_node = True, output.grad_fn
        if "activation" in self.keep or not is_known(module):
            latest.output = self._sample(output)

    def _function(self, name: str, module: nn.Module, z: Tensor) -> None:
        # A single number for each image is a gate or a temperature, not a layer.
        if not self._is_inside() and z.ndim > 1 and unit_count(z) > 1:
            where = self._stack[-1][0] if self._stack else ""
            known = len(self._calls)
            if self._enter(f"{where}.{name}".lstrip("."), z, module) and len(self._calls) > known:
                self._function_call = self._calls[-1]
                self._function_call.taken = weakref.ref(z)
                self._function_call.outside = not self._stack

    def _function_returned(self, output: Any) -> None:
        if self._function_call is not None and isinstance(output, Tensor):
            self._function_call.output_node = output.grad_fn
        self._function_call = None

    def _note_normalization(self) -> None:
        self._normalized = True

    def _loss(
        self, logits: Tensor, function: Any, args: Sequence[Any], kwargs: dict[str, Any]
    ) -> None:
        if _in_backward():
            return
        if (call := self._may_be_logits(self._losses, logits)) is not None:
            call.of_classes &= function in (F.cross_entropy, F.nll_loss)
            call.terms.append(term_of(function, args, kwargs))

    def _may_be_logits(self, found: list[Call], x: Any) -> Call | None:
        if is_measurable(x) and x.ndim and torch.is_grad_enabled() and x.requires_grad:
            return self._keep_logits(found, x)
        return None

    def _keep_logits(self, found: list[Call], x: Tensor) -> Call:
        known = next((c for c in (*self._losses, *self._outputs) if c.source is x), None)
        if known is None:
            name = next((r.name for r in reversed(self._returned) if r.output() is x), OUTPUT)
            known = Call(name, self._sample(x), in_graph=True, source=x)
            self._listen(known, x)
        found.append(known)
        return known

    def _enter(self, name: str, z: Any, phi: nn.Module) -> bool:
        if not is_measurable(z):
            return False
        if _in_backward():
            self._again(name, z)
            return True
        # A copy: an in-place activation is about to overwrite z.
        call = Call(name, self._sample(z), phi)
        call.in_graph = torch.is_grad_enabled() and z.requires_grad
        call.frozen = torch.is_grad_enabled() and not z.requires_grad
        call.normalized, self._normalized = self._normalized, False
        self._calls.append(call)
        if call.in_graph:
            call.node = get_gradient_edge(z).node
            self._listen(call, z)
        return True

    def _again(self, name: str, z: Tensor) -> None:
        """Take z of a call that the backward pass repeats, as activation checkpointing does.

        The call in the forward pass was without a graph if checkpointing is reentrant. Otherwise
        its own z gets the gradient.
        """
        calls = [
            call
            for call in self._calls
            if call.name == name and not call.in_graph and not call.frozen
        ]
        if len(calls) > 1:  # a module that is called several times
            sample = self._sample(z)
            calls = [call for call in calls if torch.equal(call.z, sample)]
        if calls and torch.is_grad_enabled() and z.requires_grad:
            calls[-1].in_graph = True
            self._listen(calls[-1], z)

    def _listen(self, call: Call, z: Tensor) -> None:
        def backward(gradient: Tensor | None) -> None:
            # None for an unused output of a compiled part. Others than the loss may compute
            # gradients too: an inner loop, a gradient penalty.
            if gradient is None or (call.of_loss and not self._in_loss):
                return
            # A copy: autograd may overwrite dL/dz.
            sample = self._sample(gradient)
            if call.of_loss and call.gradient is not None:  # a second loss reaches z
                sample = call.gradient + sample
            call.gradient, call.of_loss = sample, self._in_loss

        handle = z.register_hook(self._safe(backward))  # type: ignore[no-untyped-call]
        self._listening.append((handle, call))
        if self._compiled.repeating:
            self._edges.append(get_gradient_edge(z))

    def _pass_compiled_parts_again(self) -> Call | None:
        """Repeat the compiled parts, and insert their layers in the order of the training pass.

        Return the call of the net's output, if the last part put it out.
        """
        order, last = list(self._calls), None
        outside = len(order)
        try:
            with self._compiled.again(partial(self._hooked, inside=True)) as calls:
                for place, call in calls:
                    known = len(self._calls)
                    self._edges.clear()
                    self._functions.open()
                    outputs, gradients = call.repeat()
                    self._functions.close()
                    last = None
                    if place == outside and len(outputs) == 1 and is_measurable(outputs[0]):
                        last = self._keep_logits([], outputs[0])
                    if outputs and self._edges:
                        # This calls the hooks on each z; no weight gets a gradient.
                        self._in_loss = True
                        torch.autograd.grad(outputs, self._edges, gradients, allow_unused=True)
                    place += len(order) - outside
                    order[place:place] = self._calls[known:]
        except torch.OutOfMemoryError:
            warnings.warn("no memory to pass compiled layers again: not measured", stacklevel=2)
            self._compiled.close()
        self._functions.close()
        self._edges.clear()
        self._calls[:] = order
        return last

    def _safe(self, function: Callable[..., None]) -> Callable[..., None]:
        """Return `function` for use in a pass of the net, which an error must not end."""

        def safe(*args: Any) -> None:
            if self._failed:
                return
            try:
                # Functions that are called here are not the net's.
                with torch._C.DisableTorchFunction():
                    function(*args)
            except Exception as error:
                self._failed = True
                if self.on_error is None:
                    raise
                self.on_error(error)

        return safe

    def _sample(self, x: Tensor) -> Tensor:
        if self.images is None or x.ndim == 0:
            copied = x.detach().clone()
            return copied if x.ndim else copied.view(1)
        images = FEATURES if x.ndim == 2 and self.images == IMAGES else self.images
        return x.detach()[: max(1, min(images, ELEMENTS * x.shape[0] // x.numel()))].clone()


def _in_backward() -> bool:
    """Whether autograd is at work in this thread."""
    return torch._C._current_graph_task_id() != -1


def _of_the_loss(calls: list[Call]) -> list[Call]:
    """Return the calls of the pass that the loss was computed from."""
    if not any(call.gradient is not None for call in calls):  # no backward pass was seen
        return [call for call in calls if call.in_graph or call.frozen]
    told = any(call.of_loss for call in calls)
    return [c for c in calls if c.frozen or (c.gradient is not None and (c.of_loss or not told))]
