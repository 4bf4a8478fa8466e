"""Questions to a Weights & Biases server: whatever goes wrong with one is a line for the user."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from gradflow.errors import ConfigError


@contextmanager
def asked(subject: str = "", *, hint: str = "") -> Iterator[None]:
    """Ask about `subject`; ConfigError, in one line, if there is no account or no good answer.

    The line ends with `hint`, what helps where no server is to be had.
    """
    import wandb
    from wandb.sdk.lib.service.service_connection import WandbApiFailedError

    server = wandb.setup().settings.base_url
    try:
        yield
    except wandb.errors.UsageError as error:
        raise ConfigError(f"{server}: no API key; `wandb login` asks for one") from error
    # W&B's client raises a ValueError for what is not there, and an OSError for no connection.
    except (wandb.errors.Error, WandbApiFailedError, ValueError, OSError) as error:
        if isinstance(error, ConfigError):
            raise
        said = " ".join(str(error).split()).rstrip(".")
        raise ConfigError(f"{subject or server}: {said}{hint}") from error


def runs_on_server(project: str, entity: str | None, ids: Sequence[str]) -> tuple[str, set[str]]:
    """Return the entity, the account's own for None, and those of `ids` that its project has."""
    import wandb

    api = wandb.Api()
    entity = entity or api.settings["entity"] or api.default_entity
    if entity is None:
        raise ConfigError(f"{api.settings['base_url']}: name a team of yours by logger.entity=…")
    try:
        found = api.runs(f"{entity}/{project}", filters={"name": {"$in": list(ids)}})
        return entity, {run.id for run in found}
    except ValueError as error:
        if "Could not find project" not in str(error):
            raise
        return entity, set()
