"""The arithmetic that the YAML files use, such as `${gradflow.fraction:${steps},0.5}`."""

from __future__ import annotations

import hashlib

from omegaconf import OmegaConf

_LONGEST = 120  # bytes of a folder's name; file systems take 255, and W&B adds to it


def register() -> None:
    """Make the resolvers known to OmegaConf; may be called again."""
    OmegaConf.register_new_resolver("gradflow.product", lambda a, b: a * b, replace=True)
    OmegaConf.register_new_resolver(
        "gradflow.fraction", lambda whole, part: int(whole * part), replace=True
    )
    OmegaConf.register_new_resolver("gradflow.folder", folder_name, replace=True)


def folder_name(words: str) -> str:
    """Make a folder's name of a job's overrides; a long one is cut and told apart by a hash."""
    name = words.replace("/", "_") or "default"
    if len(name.encode()) <= _LONGEST:
        return name
    digest = hashlib.sha256(words.encode()).hexdigest()[:12]
    return name.encode()[: _LONGEST - 13].decode(errors="ignore") + "-" + digest
