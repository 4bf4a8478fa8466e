"""The arithmetic that the YAML files use, such as `${gradflow.fraction:${steps},0.5}`."""

from __future__ import annotations

from omegaconf import OmegaConf


def register() -> None:
    """Make the resolvers known to OmegaConf; may be called again."""
    OmegaConf.register_new_resolver("gradflow.product", lambda a, b: a * b, replace=True)
    OmegaConf.register_new_resolver(
        "gradflow.fraction", lambda whole, part: int(whole * part), replace=True
    )
