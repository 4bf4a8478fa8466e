"""What a user got wrong in a configuration, in one line."""

from __future__ import annotations

import re


class ConfigError(ValueError):
    """A configuration that cannot be run; the message names the key, the value, what is allowed."""


def one_line(error: BaseException) -> str:
    """Fold Hydra's and OmegaConf's multi-line messages, without their advice to force a key in."""
    text = str(error) or type(error).__name__
    unknown = re.match(r"Could not override '([^']+)'", text)
    if unknown:
        return (
            f"{unknown[1]}: there is no such key; "
            "`python scripts/train.py --cfg job` prints those there are"
        )
    text = text.split("Config search path:")[0].split("Set the environment variable")[0]
    return re.sub(r"\s+", " ", text.replace("\n\n", "; ")).strip(" ;")
