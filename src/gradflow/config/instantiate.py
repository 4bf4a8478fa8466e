"""The one place where a config node becomes an object.

Hydra is about to require an explicit list of what a `_target_` may name; one helper is where such a
list would go, and where its errors become one line.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import hydra.utils
from hydra.errors import InstantiationException

from gradflow.config.errors import ConfigError, one_line


def instantiate(
    node: Mapping[str, Any], *args: Any, key: str, partial: bool = False, **more: Any
) -> Any:
    """Call what `node["_target_"]` names with the node's other keys, `args` and `more`.

    `key` is where the node stands in the config, for messages. With `partial`, a factory that
    still awaits arguments is returned.

    Raises:
        ConfigError: if the target does not exist, does not take a key, or refuses a value.
    """
    if "_target_" not in node:
        raise ConfigError(f"{key}={dict(node)}: has no _target_, which names what to build")
    _check_keys(node, key, more)
    try:
        return hydra.utils.instantiate(
            dict(node), *args, _partial_=partial, _convert_="all", **more
        )
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, ValueError | TypeError):
            raise ConfigError(f"{key}: {one_line(cause)}") from error
        if cause is not None and not isinstance(cause, ImportError | AttributeError):
            raise cause from error
        raise ConfigError(f"{key}._target_={node['_target_']}: {one_line(error)}") from error


def _check_keys(node: Mapping[str, Any], key: str, given: Mapping[str, Any]) -> None:
    """Refuse keys that the target does not take, also where building it comes later."""
    try:
        target = hydra.utils.get_object(str(node["_target_"]))
    except Exception as error:
        raise ConfigError(f"{key}._target_={node['_target_']}: cannot be imported") from error
    try:
        parameters = inspect.signature(target).parameters
    except (TypeError, ValueError):  # some builtins have no signature; the call itself will tell
        return
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return
    for name, value in node.items():
        if name not in parameters and not name.startswith("_"):
            allowed = ", ".join(p for p in parameters if p not in given) or "none"
            raise ConfigError(f"{key}.{name}={value}: there is no such key; allowed: {allowed}")
