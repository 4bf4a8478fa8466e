"""What a user can mend: each message is one line that names what, where and what is allowed."""


class ConfigError(ValueError):
    """A configuration that cannot be run; the message names the key, the value, what is allowed."""


class DataError(RuntimeError):
    """The data cannot be had, or is not what it says it is."""


class RankError(RuntimeError):
    """A process of a data-parallel run has failed; the message names its rank and its reason."""
