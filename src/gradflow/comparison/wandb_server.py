"""Query a Weights & Biases server; any failure is one line for the user."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from gradflow.errors import ConfigError


@contextmanager
def one_line_errors(subject: str = "", *, hint: str = "") -> Iterator[None]:
    """Turn errors of W&B's client into a ConfigError of one line, about `subject` or the server.

    The line ends with `hint`, such as what works without a server, unless the API key is missing.
    """
    import wandb
    from wandb.sdk.lib.service.service_connection import WandbApiFailedError

    server = wandb.setup().settings.base_url
    try:
        yield
    except wandb.errors.UsageError as error:
        raise ConfigError(f"{server}: no API key; `wandb login` asks for one") from error
    # W&B's client raises ValueError if a run or project is missing, OSError if not connected.
    except (wandb.errors.Error, WandbApiFailedError, ValueError, OSError) as error:
        if isinstance(error, ConfigError):
            raise
        message = " ".join(str(error).split()).rstrip(".")
        raise ConfigError(f"{subject or server}: {message}{hint}") from error


def runs_on_server(project: str, entity: str | None, ids: Sequence[str]) -> tuple[str, set[str]]:
    """Return the entity (for None the account's own) and those of `ids` that the project has."""
    import wandb

    api = wandb.Api()
    entity = entity or api.settings["entity"] or api.default_entity
    if entity is None:
        raise ConfigError(f"{api.settings['base_url']}: name one of your teams by logger.entity=…")
    try:
        found = api.runs(f"{entity}/{project}", filters={"name": {"$in": list(ids)}})
        return entity, {run.id for run in found}
    except ValueError as error:
        if "Could not find project" not in str(error):
            raise
        return entity, set()
