"""Start a net from weights that were trained before, and leave some of them as they are.

Names are those of the net's own parameters and buffers, as `net.state_dict()` has them. A prefix
names a module or one tensor: `layer1` means `layer1.0.conv1.weight` and the like.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from gradflow.errors import ConfigError
from gradflow.runs.files import LAST


def load_weights(net: nn.Module, source: Path, excepted: Sequence[str] = ()) -> None:
    """Copy all parameters and buffers of `source` into `net`, except those named by a prefix.

    `source` is the folder of a run, whose last checkpoint is taken, or a file that holds a state
    dict: a checkpoint of Lightning's, or what `torch.save(net.state_dict(), file)` wrote. The names
    in it may have a prefix, such as `net.` or `module.`. The file cannot run code.

    Raises:
        ConfigError: if the file cannot be read, or if a name or a shape differs; nothing is copied.
    """
    saved = _matching(_read(source), net, source)
    own = {_plain(name): tensor for name, tensor in net.state_dict().items()}
    _check_prefixes("weights_except", excepted, {*own, *saved})
    saved = {name: tensor for name, tensor in saved.items() if not _has_prefix(name, excepted)}
    own = {name: tensor for name, tensor in own.items() if not _has_prefix(name, excepted)}
    misfits = {
        "other shapes or kinds": [
            f"{name} {_shape(saved[name])} instead of {_shape(own[name])}"
            for name in own
            if name in saved and _kind(saved[name]) != _kind(own[name])
        ],
        # Files from before the counter of batches lack it; torch accepts them, too.
        "missing": [n for n in own if n not in saved and not n.endswith("num_batches_tracked")],
        "unknown to the net": [name for name in saved if name not in own],
    }
    found = "; ".join(f"{what}: {_some(names)}" for what, names in misfits.items() if names)
    if found:
        raise ConfigError(
            f"weights={source}: does not fit the net: {found}; "
            "weights_except=[prefix, …] leaves modules as they are initialized"
        )
    names = {_plain(name): name for name in net.state_dict()}
    try:
        net.load_state_dict({names[name]: x for name, x in saved.items()}, strict=False)
    except (RuntimeError, NotImplementedError) as error:
        why = " ".join(str(error).split())[:300]
        raise ConfigError(f"weights={source}: cannot be copied: {why}") from error


def freeze(net: nn.Module, prefixes: Sequence[str]) -> None:
    """Exclude the parameters that a prefix names from training.

    Buffers, such as the running statistics of a batch normalization, still change. ConfigError if
    a prefix names no parameter.
    """
    parameters = {_plain(n): p for n, p in net.named_parameters(remove_duplicate=False)}
    _check_prefixes("freeze", prefixes, parameters)
    for name, parameter in parameters.items():
        if _has_prefix(name, prefixes):
            parameter.requires_grad_(False)


def _read(source: Path) -> dict[str, Any]:
    path = source / LAST if source.is_dir() else source
    try:
        with path.open("rb") as file:
            content = torch.load(file, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ConfigError(f"weights={source}: {path.name}: {error.strerror}") from error
    except Exception as error:  # of many types, by what the file is
        raise ConfigError(
            f"weights={source}: {path.name} is damaged, or holds more than tensors and plain "
            "containers; torch.save(net.state_dict(), file) writes what is allowed"
        ) from error
    if isinstance(content, Mapping):
        content = content.get("state_dict", content)
    if not isinstance(content, Mapping) or not any(isinstance(x, Tensor) for x in content.values()):
        raise ConfigError(f"weights={source}: {path.name} holds no state dict of tensors")
    return {str(name): value for name, value in content.items()}


def _matching(saved: Mapping[str, Any], net: nn.Module, source: Path) -> dict[str, Any]:
    """Return the entries below the prefix that most of the net's names have, without that prefix.

    A task keeps its net as `net`, so that this prefix wins a tie.
    """
    plain = {_plain(name): value for name, value in saved.items()}
    own = {_plain(name) for name in net.state_dict()}
    hits: Counter[str] = Counter()
    for name in plain:
        parts = name.split(".")
        for depth in range(len(parts)):
            if ".".join(parts[depth:]) in own:
                hits["".join(f"{part}." for part in parts[:depth])] += 1
    most = [prefix for prefix, count in hits.items() if count == max(hits.values())] or [""]
    best = next((prefix for prefix in most if prefix in ("", "net.")), most[0])
    if len(most) > 1 and best not in ("", "net."):
        listed = ", ".join(sorted(most))
        raise ConfigError(f"weights={source}: has several nets of these names: {listed}")
    return {n.removeprefix(best): value for n, value in plain.items() if n.startswith(best)}


def _plain(name: str) -> str:
    """Return a name without what `torch.compile` adds."""
    return name.replace("_orig_mod.", "")


def _has_prefix(name: str, prefixes: Iterable[str]) -> bool:
    return any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes)


def _check_prefixes(key: str, prefixes: Sequence[str], names: Iterable[str]) -> None:
    names = list(names)
    for prefix in prefixes:
        if not any(_has_prefix(name, [prefix]) for name in names):
            tops = sorted({name.split(".")[0] for name in names})
            raise ConfigError(
                f"{key}=[{','.join(prefixes)}]: {prefix or 'an empty name'} names nothing in the "
                f"net; its parts are {', '.join(tops)}"
            )


def _kind(value: Any) -> Any:
    """Return what must be the same here and there; a precision need not be."""
    if not isinstance(value, Tensor) or is_lazy(value):
        return "no tensor"
    sort = "complex" if value.is_complex() else "float" if value.is_floating_point() else "integer"
    return tuple(value.shape), sort, value.layout


def _shape(value: Any) -> str:
    if _kind(value) == "no tensor":
        return "no tensor"
    return "x".join(map(str, value.shape)) or "scalar"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
