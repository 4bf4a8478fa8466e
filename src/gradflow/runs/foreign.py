"""Decide what may be built from the folder of a run that somebody else made.

A configuration names classes and functions, and whoever builds them runs their code. What a run's
folder names is built only if the reader's own conf/ names it too, or if it is a plain part of a
net: the object that a name resolves to decides, never the name. `torch.nn.functional.torch.load`
resolves, and is no class.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from gradflow.errors import ConfigError
from gradflow.runs.plain_yaml import plain_yaml

# Only modules of these packages, and of the reader's project, are imported to look a name up.
_PACKAGES = ("torch.nn", "torch.optim", "torchvision.models", "timm", "gradflow")
# What the targets of nodes take besides, for Hydra and for `instantiate`.
_ARGUMENTS, _GIVEN = "_args_", "_given_"
_LOADING = re.compile(r"pretrain|checkpoint|ckpt|state_dict|^weights(_|$)|(^|_)(hub|url|file)(_|$)")
_RESOLVER = re.compile(r"\$\{(?!\.*[\w.]+\}|gradflow\.(product|fraction):)")
# A scheme, such as hf-hub:, as timm reads it: without blanks, and with _ for -.
_ADDRESS = re.compile(r"[\w+.-]{2,}:")


def refuse_foreign_code(
    values: Mapping[str, Any], package: str, conf: Path | None = None, run: Path | None = None
) -> None:
    """Refuse a configuration that could run code, load files or download when it is built.

    Each `_target_`, at any depth, must stand in a file of `conf`, the reader's own folder of
    configurations; or be a class derived from nn.Module, Optimizer or LRScheduler that is defined
    in torch.nn, torch.optim, torchvision.models, timm, gradflow or the package `package`; or be
    `timm.create_model` or one of torchvision's functions that build a net. Arguments that load,
    such as `pretrained`, must have the value that a file of `conf` gives them. Strings that name an
    address or hold an interpolation are refused.

    Nothing outside of these packages is imported for it. With `run`, the message names that folder,
    and the option that allows it.

    Raises:
        ConfigError: which names the key and the value.
    """
    known = _nodes_of(conf) if conf is not None else _Nodes()
    for key, value, reason in _refusals(values, package, known, "", None):
        refusal = f"{key}={str(value)[:200]}: {reason}"
        if run is not None:
            refusal = f"{run}: {refusal}; --trust builds it, if you trust its maker"
        raise ConfigError(refusal)


def refuse_foreign_overrides(overrides: Sequence[str], run: Path) -> None:
    """Refuse overrides from the folder `run` that reach beyond the reader's own conf/.

    These are: what imports a project or steers Hydra, a choice from outside of conf/, and
    interpolations but for keys and gradflow's own arithmetic. What the others compose to is for
    `refuse_foreign_code`.

    Raises:
        ConfigError: which names the run and the override.
    """
    for override in overrides:
        key, _, value = override.partition("=")
        key = key.strip().lstrip("+~").partition("@")[0]
        outside = "." not in key and key != "weights" and re.search(r"\.\.|(^|[\[,'\"\s])/", value)
        if key == "project" or "hydra" in override.partition("=")[0]:
            reason = "is not taken from a run's folder"
        elif _RESOLVER.search(value):
            reason = "is not resolved for a run's folder: it may read what is yours"
        elif outside:
            reason = "is a file outside of conf/"
        else:
            continue
        raise ConfigError(
            f"{run}: {override[:200]}: {reason}; --trust takes it, if you trust its maker"
        )


_Found = tuple[str, Any, str]  # key, value, why it is refused


class _Nodes:
    """The targets that configuration files name, and the arguments that they give to each."""

    def __init__(self) -> None:
        self.targets: set[str] = set()
        self.arguments: set[tuple[str, str, str]] = set()

    def add(self, values: Any) -> None:
        if isinstance(values, Mapping):
            target = values.get("_target_")
            if isinstance(target, str):
                self.targets.add(target)
                self.arguments |= {(target, str(k), repr(v)) for k, v in values.items()}
            for value in values.values():
                self.add(value)
        elif isinstance(values, list):
            for value in values:
                self.add(value)


def _nodes_of(conf: Path) -> _Nodes:
    nodes = _Nodes()
    for file in sorted(conf.rglob("*.yaml")):
        nodes.add(plain_yaml(file.read_text(encoding="utf-8")))
    return nodes


def _refusals(
    value: Any, package: str, known: _Nodes, key: str, target: str | None
) -> Iterator[_Found]:
    """Yield what is refused in `value`, which stands below a node of `target` if there is one."""
    if isinstance(value, Mapping):
        if "_target_" in value:
            target = str(value["_target_"])
            if target not in known.targets and not _is_harmless(target, package):
                yield (
                    f"{key}._target_".lstrip("."),
                    target,
                    "is not built from a run's folder; allowed is what your conf/ names, and nets, "
                    f"layers, optimizers and schedulers of torch, torchvision, timm and {package}",
                )
        for name, inner in value.items():
            place = f"{key}.{name}".lstrip(".")
            if target is not None and (target, str(name), repr(inner)) in known.arguments:
                continue
            if target is not None and (reason := _is_loading(str(name), inner)):
                yield place, inner, reason
            yield from _refusals(inner, package, known, place, target)
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from _refusals(inner, package, known, f"{key}.{index}", target)
    elif isinstance(value, str) and target is not None and not key.endswith("_target_"):
        if "${" in value:
            yield key, value, "is not resolved for a run's folder: it may read what is yours"
        elif _ADDRESS.match(re.sub(r"[\x00-\x20]", "", value)):
            yield key, value, "names an address, from which nothing is loaded for a run's folder"


def _is_loading(name: str, value: Any) -> str | None:
    """Return why an argument is refused that makes its target load a file or download one."""
    if name == _GIVEN and isinstance(value, Mapping):
        if any(_LOADING.search(str(own).lower()) for own in value):
            return "hands over an argument that loads a file, or downloads one"
    elif name == _ARGUMENTS:
        # By their place alone, it is unknown what they mean.
        if not isinstance(value, list) or not all(isinstance(item, Mapping) for item in value):
            return "has values without names, which may be files to load"
    elif _LOADING.search(name.lower()) and _may_name_a_file(name.lower(), value):
        return "loads a file, or downloads one"
    return None


def _may_name_a_file(name: str, value: Any) -> bool:
    if isinstance(value, bool):  # `use_checkpoint` saves memory
        return value and "checkpoint" not in name
    if isinstance(value, int | float):
        return "pretrain" in name and value != 0
    if isinstance(value, list):
        return any(not isinstance(item, int | float) for item in value)
    return bool(value)


def _is_harmless(path: str, package: str) -> bool:
    found = _resolved(path, (*_PACKAGES, package))
    if isinstance(found, type):
        return _is_in(found.__module__, (*_PACKAGES, package)) and issubclass(found, _bases())
    return inspect.isfunction(found) and any(found is builder for builder in _builders(path))


def _resolved(path: str, packages: Sequence[str]) -> Any:
    """Return the object at a dotted path in `packages`, or None."""
    parts = path.split(".")
    for depth in range(len(parts) - 1, 0, -1):
        module = ".".join(parts[:depth])
        if not _is_in(module, packages):
            return None
        try:
            found = import_module(module)
            for name in parts[depth:]:
                found = getattr(found, name)
        except Exception:  # a module may raise anything; a shorter one may have the name
            continue
        return found
    return None


def _bases() -> tuple[type, ...]:
    from torch import nn, optim  # not where a table of runs is read

    return nn.Module, optim.Optimizer, optim.lr_scheduler.LRScheduler


def _builders(path: str) -> list[Callable[..., Any]]:
    """Return the functions that build nets, of the package that `path` begins with."""
    if path.startswith("torchvision."):
        from torchvision import models

        return [models.get_model_builder(name) for name in models.list_models()]
    if path.startswith("timm."):
        import timm

        return [timm.create_model]
    return []


def _is_in(module: str, packages: Sequence[str]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)
