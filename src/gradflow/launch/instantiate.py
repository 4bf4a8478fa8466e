"""Turn config nodes into objects, in one place.

Hydra is about to require an explicit list of the targets that a `_target_` may name. The list would
go here. Errors of instantiation become one line here.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, Unpack, get_args, get_origin, get_type_hints

import hydra.utils
from hydra.errors import InstantiationException

from gradflow.errors import ConfigError
from gradflow.launch.one_line import one_line
from gradflow.runs.config import Node, RunConfig

_MAPPED = "_given_"  # in a node: the target's own names for what the run offers
_CONVERSIONS = ("none", "partial", "object", "all")
_OPTIONS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "_target_": ("the import path of what to build", lambda value: isinstance(value, str)),
    "_args_": ("a list", lambda value: isinstance(value, list)),
    "_recursive_": ("true or false", lambda value: isinstance(value, bool)),
    "_partial_": ("true or false", lambda value: isinstance(value, bool)),
    "_convert_": (f"one of {', '.join(_CONVERSIONS)}", lambda value: value in _CONVERSIONS),
    _MAPPED: (
        "names of the target, each with the name of what is offered",
        lambda value: (
            value is None
            or (isinstance(value, Mapping) and all(isinstance(x, str) for x in value.values()))
        ),
    ),
}


def instantiate(
    node: Mapping[str, Any],
    *args: Any,
    key: str,
    partial: bool = False,
    offered: Mapping[str, Any] | None = None,
    kind: type | None = None,
    **more: Any,
) -> Any:
    """Call the target of `node["_target_"]` with the node's other keys, `args` and `more`.

    `key` is the node's key in the config, for messages. With `partial`, the return value is a
    factory that takes further arguments.

    `offered` is handed over by name, as far as the target takes it: a parameter of the same name,
    or one that the node maps, as in `_given_: {in_chans: in_channels}`. None means unknown. A value
    in the node wins over an offered one.

    Raises:
        ConfigError: if the target does not exist, does not take a key, refuses a value, needs
            something offered that is unknown, or builds something that is no `kind`.
    """
    if "_target_" not in node:
        raise ConfigError(f"{key}={dict(node)}: has no _target_, which names what to build")
    _check_options(node, key)
    if offered is not None:
        more |= _taken(node, key, offered)
        node = {name: value for name, value in node.items() if name != _MAPPED}
    _check_keys(node, key, more)
    try:
        # `args` and `more` do not pass through Hydra, which would turn dataclasses into dicts.
        factory = functools.partial(
            hydra.utils.instantiate(dict(node), _partial_=True, _convert_="all"), *args, **more
        )
        built = factory if partial else factory()
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, ValueError | TypeError | RuntimeError):
            raise _refused(node, key, cause) from error
        if cause is not None and not isinstance(cause, ImportError | AttributeError):
            raise cause from error
        raise ConfigError(f"{key}._target_={node['_target_']}: {one_line(error)}") from error
    except ConfigError:
        raise
    except (ValueError, TypeError, RuntimeError) as error:
        raise _refused(node, key, error) from error
    if kind is not None and not isinstance(built, kind):
        raise ConfigError(f"{key}._target_={node['_target_']}: must be a {kind.__name__}")
    return built


def refuse_without_effect(config: RunConfig, key: str, axes: Iterable[str]) -> None:
    """Raise ConfigError for an axis that was chosen and that the target of `key` does not take."""
    node: Node = getattr(config, key)
    for axis in axes:
        if config.chose(axis) and not accepts(node, key, axis):
            raise ConfigError(
                f"{axis}={config.axes[axis]}: has no effect with {key}={config.axes[key]}, "
                f"since {node['_target_']} does not take {axis}"
            )


def accepts(node: Mapping[str, Any], key: str, name: str) -> bool:
    """Whether the node's target takes `name` when it is offered. ConfigError as in instantiate."""
    return name in (node.get(_MAPPED) or {}).values() or name in _parameters(node, key)


def _taken(node: Mapping[str, Any], key: str, offered: Mapping[str, Any]) -> dict[str, Any]:
    """Return what to hand over, by the target's own names."""
    parameters = _parameters(node, key)
    mapped: Mapping[str, str] = node.get(_MAPPED) or {}
    for name in mapped.values():
        if name not in offered:
            raise ConfigError(f"{key}.{_MAPPED}={dict(mapped)}: offered are {', '.join(offered)}")
    names = {name: name for name in offered if name in parameters} | dict(mapped)
    taken = {}
    for own, name in names.items():
        if own in node:
            continue
        if offered[name] is not None:
            taken[own] = offered[name]
        elif own in mapped or parameters[own].default is inspect.Parameter.empty:
            raise ConfigError(
                f"{key}._target_={node['_target_']}: needs {name}, which is not known; "
                f"set {key}.{own}"
            )
    return taken


def _parameters(node: Mapping[str, Any], key: str) -> Mapping[str, inspect.Parameter]:
    """Return the parameters of the node's target; any, for a builtin that does not name them."""
    try:
        target = hydra.utils.get_object(str(node["_target_"]))
    except Exception as error:
        raise ConfigError(f"{key}._target_={node['_target_']}: cannot be imported") from error
    if not callable(target):
        raise ConfigError(f"{key}._target_={node['_target_']}: is nothing that can be called")
    try:
        return parameters_of(target)
    except (TypeError, ValueError):
        return {"any": inspect.Parameter("any", inspect.Parameter.VAR_KEYWORD)}


def parameters_of(target: Any) -> dict[str, inspect.Parameter]:
    """Return the parameters of a callable, by name.

    A constructor that ends in `**name: Unpack[Options]`, with a typed dictionary, hands these on to
    the constructor of a base class: it has their parameters too.
    """
    try:  # with annotations as types
        own = dict(inspect.signature(target, eval_str=True).parameters)
    except (NameError, AttributeError, SyntaxError):  # a name that only a type checker imports
        own = dict(inspect.signature(target).parameters)
    last = list(own.values())[-1] if own else None
    if not isinstance(target, type) or last is None or last.kind is not last.VAR_KEYWORD:
        return own
    makers = [kind for kind in target.__mro__ if "__init__" in vars(kind)]
    try:
        hint = get_type_hints(vars(makers[0])["__init__"])[last.name]
    except (KeyError, NameError, TypeError):
        return own
    if get_origin(hint) is not Unpack or len(makers) < 2:
        return own
    del own[last.name]
    options = get_type_hints(get_args(hint)[0])
    inherited = parameters_of(makers[1])
    return {name: p for name, p in inherited.items() if name in options} | own


def _refused(node: Mapping[str, Any], key: str, error: Exception) -> ConfigError:
    message = one_line(error)
    names_key = message.partition("=")[0] in node  # "clip_factor=0: must be > 0"
    return ConfigError(f"{key}{'.' if names_key else ': '}{message}")


def _check_options(node: Mapping[str, Any], key: str) -> None:
    """Refuse values that Hydra's own options of a node cannot have."""
    for name, (allowed, fits) in _OPTIONS.items():
        if name in node and not fits(node[name]):
            raise ConfigError(f"{key}.{name}={node[name]}: must be {allowed}")


def _check_keys(node: Mapping[str, Any], key: str, given: Mapping[str, Any]) -> None:
    """Refuse keys that the target does not take, values of a wrong type, and non-finite values."""
    parameters = _parameters(node, key)
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return
    open_to = [
        name
        for name, parameter in parameters.items()
        # A parameter without a default and without a value here is passed by the code later.
        if name not in given and (name in node or parameter.default is not parameter.empty)
    ]
    for name, value in node.items():
        if name.startswith("_"):
            continue
        if name not in open_to:
            allowed = ", ".join(known for known in open_to if known != name) or "none"
            raise ConfigError(f"{key}.{name}={value}: there is no such key; allowed: {allowed}")
        types = _plain_types(parameters[name].annotation)
        if types and type(value) not in types and not (type(value) is int and float in types):
            allowed = " or ".join("null" if kind is NoneType else kind.__name__ for kind in types)
            raise ConfigError(f"{key}.{name}={value}: must be of type {allowed}")
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"{key}.{name}={value}: must be a finite number")


def _plain_types(annotation: Any) -> tuple[type, ...]:
    """Return the types that an annotation allows; empty if it allows more than plain types."""
    options = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else [annotation]
    options = tuple(option for option in options if option is not Path)  # YAML has no paths
    plain = (bool, int, float, str, NoneType)
    return tuple(options) if all(option in plain for option in options) else ()
