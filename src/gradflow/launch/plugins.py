"""Register with Hydra, before it composes: the resolvers and the search path of conf/."""

from __future__ import annotations

from gradflow.launch import resolvers, search_path


def register() -> None:
    """Register both in this process; may be called again."""
    resolvers.register()
    search_path.register()
