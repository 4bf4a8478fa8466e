"""Register with Hydra, before it composes: the resolvers and the search path of conf/."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf.basecontainer import BaseContainer

from gradflow.launch import resolvers, search_path


def register() -> None:
    """Register both in this process; may be called again."""
    # conf/hydra/launcher has files with the names of the plugins' own schemas, which check them.
    warnings.filterwarnings("ignore", r"\s*'hydra/launcher/.*is validated against ConfigStore")
    resolvers.register()
    search_path.register()


@contextmanager
def guest() -> Iterator[None]:
    """Register both for the block only, in which Hydra is as if it had not been used yet.

    A program that uses Hydra itself finds it afterwards as it was: its configuration, resolvers
    (Hydra replaces `now` whenever it starts) and plugins.
    """
    running, config = GlobalHydra.instance().hydra, HydraConfig.instance().cfg
    known = dict(BaseContainer._resolvers)  # nothing public lists them
    # Hydra's own list, to which `register` appends.
    plugins = Plugins.instance().plugin_type_to_subclass_list.setdefault(SearchPathPlugin, [])
    before = list(plugins)
    try:
        GlobalHydra.instance().clear()
        register()
        yield
    finally:
        plugins[:] = before
        BaseContainer._resolvers.clear()
        BaseContainer._resolvers.update(known)
        GlobalHydra.instance().hydra, HydraConfig.instance().cfg = running, config
