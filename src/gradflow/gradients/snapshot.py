"""Take all measurements of one step, before and after the optimizer acts.

They stay on the device until `read`, which makes one copy. This file knows modules and tensors, and
nothing of Lightning, files or loggers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gradflow.gradients.compiled import uncompiled_name
from gradflow.gradients.flow import Flow, flow_of
from gradflow.gradients.histogram import Measurement, begin
from gradflow.gradients.layer_values import LayerValues
from gradflow.gradients.record import Columns, Entry


@dataclass(frozen=True)
class Rows:
    """The rows of one kind: the tensors they describe, and their columns."""

    kind: str
    entries: list[Entry]
    columns: Columns


class Snapshot:
    """Measure one step of `module`, whose gradients are complete, unscaled and not yet clipped.

    `layers` and the `scalars` () come from the training pass, the latter by their kind in the
    record. `mean_loss` is the mean and root mean square (2,) over the batches since the last
    record, and their number. With `weight_histograms` the weights' rows have counts
    and bins too. `only` are the parameters to measure; None means all.
    """

    def __init__(
        self,
        step: int,
        module: nn.Module,
        layers: LayerValues | None,
        scalars: Mapping[str, Tensor],
        mean_loss: tuple[Tensor, int] | None = None,
        *,
        weight_histograms: bool = False,
        only: Set[nn.Parameter] | None = None,
    ) -> None:
        self.step = step
        self.skipped: dict[str, str] = {}  # parameters that cannot be measured, and why
        self._layers = layers
        self._entries: list[Entry] = []
        self._without_gradient: list[Entry] = []
        self._parameters: list[nn.Parameter] = []
        for index, (name, parameter) in enumerate(module.named_parameters()):
            if not parameter.requires_grad or (only is not None and parameter not in only):
                continue
            if (reason := unmeasurable(parameter)) is not None:
                self.skipped[uncompiled_name(name)] = reason
                continue
            if parameter.numel() == 0:
                continue
            entry = Entry(uncompiled_name(name), index, parameter.numel(), parameter.dim())
            if parameter.grad is None:
                self._without_gradient.append(entry)
            else:
                self._entries.append(entry)
                self._parameters.append(parameter)
        self._histograms: dict[str, Measurement] = {}
        self._before = [parameter.detach().clone() for parameter in self._parameters]
        if self._parameters:
            self._histograms["gradient"] = begin(
                [p.grad for p in self._parameters if p.grad is not None]
            )
            if weight_histograms:
                self._histograms["weight"] = begin(self._before)
        if layers is not None:
            for kind, tensors in layers.tensors.items():
                self._histograms[kind] = begin(list(tensors.values()))
        self._values: dict[str, Tensor] = {}
        self._scalars = list(scalars)
        for kind, scalar in scalars.items():
            self._values[kind] = scalar.view(1)
        if mean_loss is not None:
            self._values["mean loss"], self._averaged = mean_loss
        if layers is not None:
            self._values["layers"] = layers.values

    @torch.no_grad()
    def read(self) -> list[Rows]:
        """Return the step's rows, after the optimizer has acted; waits for the device once."""
        device_values = self._values | {kind: m.rows for kind, m in self._histograms.items()}
        if self._parameters:
            now = [parameter.detach() for parameter in self._parameters]
            device_values["weight norm"] = _norms(self._before)
            device_values["update norm"] = _norms(torch._foreach_sub(now, self._before))
            clipped = [p.grad for p in self._parameters if p.grad is not None]
            if len(clipped) == len(now):  # manual optimization may have freed them
                device_values["clipped norm"] = _norms(clipped)
                if not _on_host(clipped):
                    device_values["clipped max"] = _maxima(clipped)
        values = _copy(device_values)
        histograms = {kind: m.read(values[kind]) for kind, m in self._histograms.items()}

        rows: list[Rows] = []
        if self._without_gradient:
            rows.append(Rows("gradient", self._without_gradient, {}))
        if self._parameters:
            gradient = vars(histograms["gradient"])
            rows.append(Rows("gradient", self._entries, gradient))
            weight = _columns(self._entries, values["weight norm"])
            if "weight" in histograms:
                weight = vars(histograms["weight"])
            rows.append(Rows("weight", self._entries, weight))
            rows.append(
                Rows("update", self._entries, _columns(self._entries, values["update norm"]))
            )
            if "clipped norm" in values and _differ(gradient, values["clipped norm"]):
                # On the host the maxima are computed only if they are needed.
                maxima = _maxima(clipped).numpy() if _on_host(clipped) else values["clipped max"]
                columns = _columns(self._entries, values["clipped norm"], maxima)
                rows.append(Rows("clipped_gradient", self._entries, columns))
        if self._layers is not None:
            rows += _layer_rows(self._layers, values["layers"], histograms)
        for kind in self._scalars:
            name = "loss" if "loss" in kind else kind
            rows.append(Rows(kind, [Entry(name, 0, 1)], {"max": values[kind]}))
        if "mean loss" in values:
            mean = dict(zip(("max", "rms"), values["mean loss"][:, None], strict=True))
            rows.append(Rows("mean_loss", [Entry("loss", 0, self._averaged)], mean))
        return rows


def joined(parts: Sequence[Sequence[Rows]]) -> list[Rows]:
    """Join the rows of several optimizers' steps, kind by kind; layers are numbered through."""
    kinds: dict[tuple[str, bool], list[Rows]] = {}
    for rows in parts:
        for group in rows:
            kinds.setdefault((group.kind, bool(group.columns)), []).append(group)
    return [
        Rows(
            kind,
            [entry for group in groups for entry in group.entries],
            {
                column: np.concatenate([np.asarray(group.columns[column]) for group in groups])
                for column in groups[0].columns
                if all(column in group.columns for group in groups)
            },
        )
        for (kind, _), groups in kinds.items()
    ]


def unmeasurable(parameter: nn.Parameter) -> str | None:
    """Return why a parameter or its gradient cannot be measured; None if both can."""
    if isinstance(parameter, nn.UninitializedParameter):
        return "it is not initialized"
    for what, x in (("it", parameter), ("its gradient", parameter.grad)):
        if x is None:
            continue
        if x.layout != torch.strided:
            return f"{what} is sparse"
        if x.is_nested or type(x) not in (Tensor, nn.Parameter):
            return f"{what} is a {type(x).__name__}"
        if x.is_meta or x.dtype not in _MEASURABLE:
            return f"{what} is {'without data' if x.is_meta else x.dtype}"
    return None


_MEASURABLE = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def flow_of_rows(step: int, rows: Sequence[Rows]) -> Flow:
    """Return the flow of a step's rows, as `read_flows` does for the record."""
    kinds: dict[str, dict[str, Any]] = {}
    for group in rows:
        names = [entry.name for entry in group.entries]
        elements = [entry.elements for entry in group.entries]
        dimensions = [entry.dimensions for entry in group.entries]
        if group.columns or group.kind not in kinds:
            described = {"name": names, "elements": elements, "dimensions": dimensions}
            kinds[group.kind] = {**described, **group.columns}
    return flow_of(step, kinds)


def _layer_rows(
    layers: LayerValues, values: NDArray[np.float64], histograms: Mapping[str, Any]
) -> list[Rows]:
    z_norm, z_max, g_norm, g_max, dead, saturated = values.T
    entries = [
        Entry(n, i, e) for i, (n, e) in enumerate(zip(layers.names, layers.elements, strict=True))
    ]
    units = {"units": layers.units, "dead": dead, "saturated": saturated, **_structure(layers)}
    z = _columns(entries, z_norm, z_max)
    if "pre_activation" in histograms:
        z = vars(histograms["pre_activation"])
    rows = [Rows("pre_activation", entries, {**z, **units})]
    reached = [i for i, has in enumerate(layers.has_gradient) if has]
    if reached:
        entries_g = [entries[i] for i in reached]
        columns = _columns(entries_g, g_norm[reached], g_max[reached])
        rows.append(Rows("pre_activation_gradient", entries_g, columns))
    if "activation" in histograms:
        names = list(layers.tensors["activation"])
        found = vars(histograms["activation"])
        entries_a = [
            Entry(name, layers.names.index(name), int(n))
            for name, n in zip(names, found["elements"], strict=True)
        ]
        rows.append(Rows("activation", entries_a, found))
    return rows


def _structure(layers: LayerValues) -> dict[str, Any]:
    """Return the columns that tell how the layers lie in the net."""
    unknown = (math.nan,) * 3
    where = np.array([unknown if place is None else place for place in layers.places], dtype=float)
    columns = dict(zip(("before", "behind", "bypassed"), where.T, strict=True))
    return columns | {"positions": layers.positions, "normalized": layers.normalized}


def _columns(
    entries: Sequence[Entry], norm: NDArray[np.float64], maximum: NDArray[np.float64] | None = None
) -> dict[str, Any]:
    """Return norm, RMS and maximum as columns; NaN if any element is non-finite."""
    finite = np.where(np.isfinite(norm), norm, np.nan)
    root = np.sqrt([max(entry.elements, 1) for entry in entries])
    columns: dict[str, Any] = {"norm": finite, "rms": finite / root}
    if maximum is not None:
        columns["max"] = np.where(np.isfinite(maximum), maximum, np.nan)
    return columns


def _differ(before: Columns, after: NDArray[np.float64]) -> bool:
    """Return whether clipping changed anything beyond rounding.

    The norms before clipping cover finite elements only. A gradient with non-finite elements has
    changed if all of its elements are finite afterwards.
    """
    broken = before["nans"] + before["infs"] > 0
    same = np.where(
        broken, ~np.isfinite(after), np.isclose(before["norm"], after, rtol=1e-9, atol=0)
    )
    return not bool(same.all())


def _norms(tensors: Sequence[Tensor]) -> Tensor:
    """Return the L2 norm of each tensor, float64 (n,), on the first one's device."""
    wide = torch.float32 if any(t.device.type == "mps" for t in tensors) else torch.float64
    return _stack(torch._foreach_norm(list(tensors), 2, dtype=wide))


def _maxima(tensors: list[Tensor]) -> Tensor:
    """Return the largest |x| of each tensor, float64 (n,), on the first one's device."""
    return _stack(torch._foreach_max(torch._foreach_abs(tensors)))


def _on_host(tensors: Sequence[Tensor]) -> bool:
    return all(tensor.is_cpu for tensor in tensors)


def _stack(scalars: Sequence[Tensor]) -> Tensor:
    device = scalars[0].device
    wide = torch.float32 if device.type == "mps" else torch.float64
    # Widen all at once: one by one would cost more than the norms.
    return torch.stack([scalar.to(device) for scalar in scalars]).to(wide)


def _copy(tensors: Mapping[str, Tensor]) -> dict[str, NDArray[np.float64]]:
    """Bring all tensors to the host in one copy."""
    if not tensors:
        return {}
    devices = [tensor.device for tensor in tensors.values()]
    # If a part is on the host already (Apple's GPUs have no float64), the rest goes there too.
    device = next((device for device in devices if device.type == "cpu"), devices[0])
    flat = torch.cat([tensor.to(device).reshape(-1) for tensor in tensors.values()])
    host = flat.cpu().double().numpy()
    copied = {}
    for name, tensor in tensors.items():
        part, host = np.split(host, [tensor.numel()])
        copied[name] = part.reshape(tensor.shape)
    return copied
