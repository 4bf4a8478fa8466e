"""From Hydra's composed words to a checked, typed `Config`, and from its nodes to objects."""

from gradflow.config import resolvers
from gradflow.config.compose import compose, from_hydra
from gradflow.config.errors import ConfigError
from gradflow.config.instantiate import instantiate
from gradflow.config.schema import AXES, Config

resolvers.register()  # here, so that it also holds in the worker processes of a launcher

__all__ = ["AXES", "Config", "ConfigError", "compose", "from_hydra", "instantiate"]
