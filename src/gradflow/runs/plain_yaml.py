"""Read YAML that somebody else may have written: plain data of a bounded size and depth."""

from __future__ import annotations

from typing import Any

import yaml

# The C loader is ten times as fast as the Python one; PyYAML's wheels include it.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DEEPEST, _MOST = 50, 100_000
_OPENING = "[{-?:"  # every level of nesting takes one of these
_OTHERS = (ValueError, AttributeError, TypeError, KeyError)  # PyYAML's, for damaged numbers, dates
_HARMLESS = 5_000  # levels that the C loader can take; far more end the process


def plain_yaml(text: str) -> Any:
    """Return the content of a YAML document, in which tags build nothing.

    Aliases may repeat a value, as long as the whole stays small: ten lines can mean 10^9 values.

    Raises:
        ValueError: if the text is no YAML, or its content is too deep or too large.
    """
    try:
        if sum(map(text.count, _OPENING)) > _HARMLESS and _depth(text) > _DEEPEST:
            raise RecursionError(f"more than {_DEEPEST} levels")
        content = yaml.load(text, _Loader)  # a safe loader
    except (yaml.YAMLError, RecursionError, *_OTHERS) as error:
        raise ValueError(f"is not YAML: {' '.join(str(error).split())}") from error
    _check_size(content)
    return content


def _depth(text: str) -> int:
    """Return the number of levels, or the first that is too many."""
    depth = deepest = 0
    for event in yaml.parse(text, _Loader):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        deepest = max(depth, deepest)
        if depth > _DEEPEST:
            break
    return deepest


def _check_size(content: Any) -> None:
    count, level = 0, [content]
    for _ in range(_DEEPEST + 1):
        below: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                below += value.values()
            elif isinstance(value, list | set | tuple):
                below += value
            if count + len(below) > _MOST:
                raise ValueError(f"has more than {_MOST} values")
        count, level = count + len(below), below
        if not level:
            return
    raise ValueError(f"has more than {_DEEPEST} levels")
