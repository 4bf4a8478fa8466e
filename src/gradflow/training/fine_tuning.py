"""Start a net from weights that were trained before, and leave some of them as they are.

Names are those of the net's own parameters and buffers, as `net.state_dict()` has them. A prefix
names a module or one tensor: `layer1` means `layer1.0.conv1.weight` and the like.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

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
    saved = _matching(_read(source), net)
    own = net.state_dict()
    _check_prefixes("weights_except", excepted, {*own, *saved})
    saved = {name: tensor for name, tensor in saved.items() if not _has_prefix(name, excepted)}
    own = {name: tensor for name, tensor in own.items() if not _has_prefix(name, excepted)}
    misfits = {
        "other shapes": [
            f"{name} {_shape(saved[name])} instead of {_shape(own[name])}"
            for name in own
            if name in saved and saved[name].shape != own[name].shape
        ],
        "missing": [name for name in own if name not in saved],
        "unknown to the net": [name for name in saved if name not in own],
    }
    found = "; ".join(f"{what}: {_some(names)}" for what, names in misfits.items() if names)
    if found:
        raise ConfigError(
            f"weights={source}: does not fit the net: {found}; "
            "weights_except=[prefix, …] leaves modules as they are initialized"
        )
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(saved[name])


def freeze(net: nn.Module, prefixes: Sequence[str]) -> None:
    """Exclude the parameters that a prefix names from training.

    Buffers, such as the running statistics of a batch normalization, still change. ConfigError if
    a prefix names no parameter, or if nothing is left to train.
    """
    parameters = dict(net.named_parameters())
    _check_prefixes("freeze", prefixes, parameters)
    for name, parameter in parameters.items():
        if _has_prefix(name, prefixes):
            parameter.requires_grad_(False)
    if prefixes and not any(parameter.requires_grad for parameter in parameters.values()):
        raise ConfigError(f"freeze=[{','.join(prefixes)}]: leaves no parameter to train")


def _read(source: Path) -> dict[str, Tensor]:
    path = source / LAST if source.is_dir() else source
    try:
        with path.open("rb") as file:
            content = torch.load(file, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ConfigError(f"weights={source}: {path}: {error.strerror}") from error
    except Exception as error:  # of many types, by what the file is
        raise ConfigError(
            f"weights={source}: {path} is damaged, or holds more than tensors and plain containers"
        ) from error
    content = content.get("state_dict", content) if isinstance(content, Mapping) else {}
    tensors = {name: value for name, value in content.items() if isinstance(value, Tensor)}
    if not tensors:
        raise ConfigError(f"weights={source}: {path} holds no state dict of tensors")
    return tensors


def _matching(saved: Mapping[str, Tensor], net: nn.Module) -> dict[str, Tensor]:
    """Return the entries below the prefix that most of the net's names have, without that prefix.

    `torch.compile` adds `_orig_mod.` inside of names; it is removed first.
    """
    plain = {name.replace("_orig_mod.", ""): tensor for name, tensor in saved.items()}
    own = set(net.state_dict())
    hits: dict[str, int] = {"": 0}
    for name in plain:
        parts = name.split(".")
        for depth in range(len(parts)):
            if ".".join(parts[depth:]) in own:
                prefix = "".join(f"{part}." for part in parts[:depth])
                hits[prefix] = hits.get(prefix, 0) + 1
    best = max(hits, key=lambda prefix: (hits[prefix], -len(prefix)))
    return {
        name.removeprefix(best): tensor for name, tensor in plain.items() if name.startswith(best)
    }


def _has_prefix(name: str, prefixes: Iterable[str]) -> bool:
    return any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes)


def _check_prefixes(key: str, prefixes: Sequence[str], names: Iterable[str]) -> None:
    names = list(names)
    for prefix in prefixes:
        if not any(_has_prefix(name, [prefix]) for name in names):
            tops = sorted({name.split(".")[0] for name in names})
            raise ConfigError(
                f"{key}=[{','.join(prefixes)}]: {prefix} names nothing in the net; "
                f"its parts are {', '.join(tops)}"
            )


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "scalar"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
