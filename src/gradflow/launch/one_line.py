"""Fold Hydra's and OmegaConf's messages into one line that says what is allowed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from hydra.errors import OverrideParseException
from omegaconf.errors import OmegaConfBaseException

# Which extra of a pyproject.toml brings a launcher or a sweeper.
_EXTRAS = {
    "joblib": "joblib",
    "submitit_local": "submitit",
    "submitit_slurm": "submitit",
    "ray": "ray",
    "ray_aws": "ray",
    "optuna": "optuna",
}


def cannot_compose(overrides: Sequence[str], error: BaseException) -> str:
    """Return the line for an error in which Hydra does not say what it failed over.

    Plain words are no cause: it names the overrides that are more, if there are any.
    """
    suspects = [word for word in overrides if re.search(r"[][{}$()]|^[+~]|^hydra", word)]
    return f"{' '.join(suspects or overrides)}: cannot be composed: {one_line(error)}"


def _is_quotable(override: str | None) -> bool:
    """Whether quotes would help: there is a value, and a character that needs them."""
    value = (override or "").partition("=")[2]
    return bool(re.search(r"[^\x00-\x7f]|[()\[\]{}<>#&;!|'\"\\=]", value))


def one_line(error: BaseException) -> str:
    """Fold a multi-line message into one line, without the advice to force a key in."""
    text = str(error) or type(error).__name__
    unknown = re.match(r"Could not override '([^']+)'", text)
    if unknown:
        # The cause is OmegaConf's error, with the node in which the key was looked up.
        node = getattr(error.__cause__, "parent_node", None)
        keys = [str(key) for key in node] if isinstance(node, Mapping) else []
        allowed = ", ".join(key for key in keys if key not in ("hydra", "_target_"))
        value = re.search(r"use \+[^=\s]+(=.*)", text)
        return (
            f"{unknown[1]}{value[1] if value else ''}: there is no such key; allowed: "
            f"{allowed or 'what `python scripts/train.py --cfg job` prints'}"
        )
    choice = re.search(r"Could not (?:find|load) '(.+)/([^/']*)'", text)
    if choice and choice[1] in ("hydra/launcher", "hydra/sweeper") and choice[2] in _EXTRAS:
        return (
            f"{choice[1]}={choice[2]}: is not installed; "
            f"uv pip install -e '.[{_EXTRAS[choice[2]]}]'"
        )
    if choice:
        listed = text.partition("Available options in")[2].partition(":")[2]
        allowed = ", ".join(listed.split("Config search path:")[0].split())
        return (
            f"{choice[1]}={choice[2]}: there is no such choice; allowed: "
            f"{allowed or f'the files of conf/{choice[1]}'}"
        )
    plugin = re.search(r"Unknown plugin class : '(hydra_plugins\.hydra_([a-z]+)_[a-z]+)", text)
    if plugin:
        return f"{plugin[1]}: is not installed; uv pip install -e '.[{plugin[2]}]'"
    if "INTERVAL_SWEEP" in text:
        allowed = "key=a,b, key=range(…)"
        return f"interval(…): needs a search, hydra/sweeper=optuna; allowed here: {allowed}"
    if isinstance(error, OverrideParseException):
        allowed = "key=value, key=[a,b], key='a=b,c', +key=value, ~key"
        hint = "; quote what is no plain word: \"key='é'\"" if _is_quotable(error.override) else ""
        return f"{error.override}: cannot be read; allowed: {allowed}{hint}"
    for end in (
        "full_key:",
        "Config search path:",
        "Set the environment variable",
        "Exception raised from",
    ):
        text = text.partition(end)[0]  # the last one begins torch's frames of C++
    key = getattr(error, "full_key", None)
    if key and isinstance(error, OmegaConfBaseException) and str(key) not in text:
        text = f"{key}: {text}"
    return re.sub(r"\s+", " ", text.replace("\n\n", "; ")).strip(" ;")
