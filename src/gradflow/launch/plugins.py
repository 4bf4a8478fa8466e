"""What Hydra has to know before it composes: the resolvers, and how conf/ is searched."""

from __future__ import annotations

from gradflow.launch import resolvers, search_path


def register() -> None:
    """Make both known in this process; may be called again."""
    resolvers.register()
    search_path.register()
