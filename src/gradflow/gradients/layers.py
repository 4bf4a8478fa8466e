"""Every layer's pre-activation z and its gradient dL/dz, read from a net's own training pass.

A layer is a nonlinearity, and z is its input. Nonlinearities are the elementwise activations of
`torch.nn`, and all modules whose own name begins with `activation`. The last layer is the weight
layer that is declared last; there z is the output, the logits. Nonlinearities called as functions
are not seen. Compiled modules are measured in a second, uncompiled pass. Its z differs from the
compiled one by rounding, and by the random numbers that inductor draws itself.

This file knows modules and tensors. It knows nothing of Lightning or records.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.utils.hooks import RemovableHandle

from gradflow.gradients.compiled import CompiledParts, uncompiled_name
from gradflow.gradients.histogram import flatten
from gradflow.gradients.units import dead_and_saturated, unit_count

# RMS and maximum cover the first IMAGES images of a batch (batches are shuffled), shares of units
# the first UNIT_IMAGES. These images are copied; ELEMENTS bounds the copy of each layer.
IMAGES, UNIT_IMAGES, ELEMENTS = 8, 2, 2**17

_WEIGHT_LAYERS = (nn.Linear, nn.Bilinear, nn.modules.conv._ConvNd)
_NONLINEARITIES = (
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.RReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU),
    *(nn.SiLU, nn.Mish, nn.Softplus, nn.Hardtanh, nn.Tanh, nn.Sigmoid, nn.Softsign, nn.LogSigmoid),
    *(nn.Hardsigmoid, nn.Hardswish, nn.Hardshrink, nn.Softshrink, nn.Tanhshrink, nn.Threshold),
)


@dataclass(frozen=True)
class LayerValues:
    """Measurements of n layers in the order in which the net computes them.

    `values` is float64 of shape (n, 6), still on the device: norm of z, max |z|, norm of dL/dz,
    max |dL/dz|, share of dead units, share of saturated units. NaN is missing or not a number. The
    logits have no units; a layer after frozen layers only has no gradient.
    """

    names: list[str]
    elements: list[int]  # of z, in the measured images
    units: list[int]  # channels of a convolution, features of a linear layer
    has_gradient: list[bool]
    values: Tensor
    # On request: z and a = phi(z) of the measured images, by layer, for histograms.
    tensors: dict[str, dict[str, Tensor]]


@dataclass
class _Layer:
    z: Tensor  # of the measured images
    activation: nn.Module | None  # None for the logits
    gradient: Tensor | None = None


@dataclass
class LayerWatch:
    """Hooks on every layer of `module`; `close` removes them.

    Between `start(measuring=True)` and `collect` every pass that builds a graph is measured; of
    several passes (gradient accumulation) the last one counts. At other times each layer stores one
    reference, with which `first_non_finite` finds the origin of a bad value; `forget` drops them.
    The net's results do not change. Compiled parts store a reference to their inputs. If they are
    measured, `collect` runs them once more, in eager mode and without gradients of weights, so it
    must be called before the weights change.
    """

    module: nn.Module
    images: int | None = IMAGES  # the first ones of each batch; None for all
    keep: tuple[str, ...] = ()  # "pre_activation", "activation": the keys of `tensors`

    _handles: list[RemovableHandle] = field(default_factory=list)
    # Hooks inside compiled parts; set only in the second pass, so that they are never compiled.
    _inside: list[Callable[[], RemovableHandle]] = field(default_factory=list)
    _edges: list[GradientEdge] = field(default_factory=list)  # of each z in a second pass
    _layers: dict[str, _Layer] = field(default_factory=dict)
    _passed: dict[str, Tensor] = field(default_factory=dict)
    _tensors: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    _measuring: bool = False
    _compiled: CompiledParts = field(init=False)

    def __post_init__(self) -> None:
        self._compiled = CompiledParts(self.module, passed=lambda: len(self._passed))
        hooks: list[tuple[str, Callable[[Any], RemovableHandle], Any]] = []
        last = ""
        for name, module in self.module.named_modules():
            if isinstance(module, torch._dynamo.OptimizedModule):
                continue
            if isinstance(module, _WEIGHT_LAYERS):
                last = name
            if is_nonlinearity(uncompiled_name(name), module):
                hooks.append((name, module.register_forward_pre_hook, self._entering))
                hooks.append((name, module.register_forward_hook, self._leaving))
        if last:
            module = self.module.get_submodule(last)
            hooks.append((last, module.register_forward_hook, self._leaving_net))
        for name, register, make in hooks:
            hook = make(uncompiled_name(name))
            if name in self._compiled:
                self._inside.append(partial(register, hook))
            else:
                self._handles.append(register(hook))

    def start(self, measuring: bool) -> None:
        """Begin a batch; with `measuring`, measure its pass."""
        self._measuring = measuring
        self._layers.clear()
        self._passed.clear()
        self._compiled.start(exactly=measuring)
        self._tensors = {kind: {} for kind in self.keep}

    def forget(self) -> None:
        """Drop the tensors of the finished pass, so that their memory can be freed."""
        self._passed.clear()
        self._compiled.forget()

    def first_non_finite(self) -> str | None:
        """Return the first layer with NaN or Inf in the latest pass, or None. Waits for devices.

        Checks z if the pass was measured, else the layers' outputs.
        """
        measuring, self._measuring = self._measuring, False
        self._pass_compiled_parts_again()
        self._measuring = measuring
        for name, x in self._passed.items():
            if not bool(torch.isfinite(x).all()):
                return name
        return None

    def collect(self, factor: Tensor | float = 1.0) -> LayerValues | None:
        """Return the measurements, with dL/dz times `factor`; None if no layer was called.

        Does not wait for the device, and leaves the values there. Raises nothing.
        """
        self._passed = {name: layer.z for name, layer in self._layers.items()}
        self._pass_compiled_parts_again()
        self._measuring = False
        if not self._layers:
            return None
        layers = list(self._layers.values())
        forward = _norms_and_maxima([layer.z for layer in layers])
        with_gradient = [layer.gradient for layer in layers if layer.gradient is not None]
        backward = iter(_norms_and_maxima(with_gradient).unbind() if with_gradient else ())
        judged = [
            (layer.activation, layer.z[:UNIT_IMAGES])
            for layer in layers
            if layer.activation is not None  # not its truth value: an empty container is false
        ]
        missing = torch.full_like(forward[0], torch.nan)
        units = iter(dead_and_saturated(judged).to(missing).unbind() if judged else ())
        gradients = [missing if layer.gradient is None else next(backward) for layer in layers]
        shares = [missing if layer.activation is None else next(units) for layer in layers]
        values = torch.cat([forward, torch.stack(gradients) * factor, torch.stack(shares)], dim=1)
        names = list(self._layers)
        if "pre_activation" in self.keep:
            z = {name: layer.z for name, layer in self._layers.items()}
            self._tensors["pre_activation"] = z
        collected = LayerValues(
            names=names,
            elements=[layer.z.numel() for layer in layers],
            units=[unit_count(layer.z) for layer in layers],
            has_gradient=[layer.gradient is not None for layer in layers],
            values=values,
            tensors=self._tensors,
        )
        self.start(measuring=False)
        return collected

    def close(self) -> None:
        """Remove the hooks."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._compiled.close()
        self.start(measuring=False)

    def _pass_compiled_parts_again(self) -> None:
        """Repeat the compiled parts, and insert their layers in the order of the training pass."""
        order = list(self._passed)
        outside = len(order)
        try:
            with self._compiled.again(self._inside) as calls:
                for place, call in calls:
                    known = len(self._passed)
                    self._edges.clear()
                    outputs, gradients = call.repeat()
                    if outputs and self._edges:
                        # This calls the hooks on each z; no weight gets a gradient.
                        torch.autograd.grad(outputs, self._edges, gradients, allow_unused=True)
                    place += len(order) - outside
                    order[place:place] = list(self._passed)[known:]
        except torch.OutOfMemoryError:
            warnings.warn("no memory to pass compiled layers again: not measured", stacklevel=2)
            self._compiled.close()
        self._edges.clear()
        self._passed = {name: self._passed[name] for name in order}
        self._layers = {name: self._layers[name] for name in order if name in self._layers}

    def _entering(self, name: str) -> Any:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            # Skip validation, which has no gradients.
            if not self._measuring or not torch.is_grad_enabled():
                return
            if inputs and _is_measurable(inputs[0]):
                self._pass(name, inputs[0], module)

        return hook

    def _leaving(self, name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Tensor) -> None:
            if not torch.is_grad_enabled() or not _is_measurable(output):
                return
            if not self._measuring:
                # Store the output, which the backward pass keeps anyway as the next layer's input.
                # Storing z would stop its memory from being reused: a millisecond or more per step.
                self._passed[self._called(name)] = output
            elif "activation" in self.keep:
                latest = [known for known in self._passed if known.partition("#")[0] == name][-1:]
                self._tensors["activation"] |= {known: self._sample(output) for known in latest}

        return hook

    def _leaving_net(self, name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Tensor) -> None:
            if not torch.is_grad_enabled() or not _is_measurable(output):
                return
            if self._measuring:
                self._pass(name, output, None)
            else:
                self._passed[self._called(name)] = output

        return hook

    def _pass(self, name: str, z: Tensor, activation: nn.Module | None) -> None:
        name = self._called(name)
        self._passed[name] = z  # detaching it would cost more than the rest of this method
        # Copies: an in-place activation is about to overwrite z, and autograd may overwrite dL/dz.
        layer = _Layer(self._sample(z), activation)
        self._layers[name] = layer
        if z.requires_grad:

            def backward(gradient: Tensor | None) -> None:
                if gradient is not None:  # None for an unused output of a compiled part
                    layer.gradient = self._sample(gradient)

            z.register_hook(backward)  # type: ignore[no-untyped-call]
            if self._compiled.repeating:
                self._edges.append(get_gradient_edge(z))

    def _called(self, name: str) -> str:
        """Return the name of this call: a module called several times counts as several layers."""
        if name not in self._passed:
            return name
        return f"{name}#{sum(known.partition('#')[0] == name for known in self._passed) + 1}"

    def _sample(self, x: Tensor) -> Tensor:
        if self.images is None or x.ndim == 0:
            copied = x.detach().clone()
            return copied if x.ndim else copied.view(1)
        return x.detach()[: max(1, min(self.images, ELEMENTS * len(x) // x.numel()))].clone()


def is_nonlinearity(name: str, module: nn.Module) -> bool:
    """Return whether the input of `module`, called `name` in its net, is a pre-activation."""
    own_name = name.rpartition(".")[2]
    return isinstance(module, _NONLINEARITIES) or own_name.startswith("activation")


def _is_measurable(x: object) -> bool:
    # `module.compile()` traces through hooks: measure nothing in compiled code.
    if torch.compiler.is_compiling():
        return False
    return isinstance(x, Tensor) and x.is_floating_point() and x.numel() > 0


def _norms_and_maxima(tensors: list[Tensor]) -> Tensor:
    """Return L2 norm and largest |x| of each tensor, float64 (n, 2); NaN and Inf propagate."""
    # One flat tensor at a time. Stacking them or taking |x| would copy, reducing along a dimension
    # takes several times as long, and aminmax takes longer than amin and amax.
    flat = [flatten(x) for x in tensors]
    least = torch.stack([x.amin() for x in flat])
    maxima = torch.maximum(torch.stack([x.amax() for x in flat]), -least)
    # float64, since the squares of a vanished gradient underflow in float32.
    wide = torch.float32 if maxima.device.type == "mps" else torch.float64
    scale = torch.ones_like(maxima, dtype=wide)
    if maxima.dtype == torch.float64:  # squares of float64 underflow too: scale by the maximum
        scale = maxima.where(maxima > 0, 1.0)
        flat = [x / by for x, by in zip(flat, scale.unbind(), strict=True)]
    norms = torch.stack([torch.linalg.vector_norm(x, dtype=wide) for x in flat]) * scale
    return torch.stack([norms, maxima.to(wide)], dim=1)
