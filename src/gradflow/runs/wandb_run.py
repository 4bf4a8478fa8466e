"""Start and finish a run's W&B run, with or without a server.

A run never fails because of W&B, and waits for it at most the seconds below. Data that cannot be
sent stays in the run's folder for `wandb sync`. This file does not decide what is logged.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from gradflow.errors import ConfigError
from gradflow.gradients.record import copy_as_one_part
from gradflow.runs.config import RunConfig
from gradflow.runs.files import CONFIG, METRICS, OVERRIDES, STATUS, VERDICT
from gradflow.runs.status import Status
from gradflow.runs.wandb_config import compared
from gradflow.runs.wandb_environment import (
    is_in_sweep,
    settings_not_in_environment,
    wandb_folder,
)

if TYPE_CHECKING:  # half a second, which only runs with W&B need
    import wandb

log = logging.getLogger(__name__)

# How long a run waits for a server: at its start, before it goes on offline, and at its end. W&B's
# own defaults are 90 s at the start, and no limit at the end.
_START_SECONDS, _END_SECONDS = 20.0, 30.0
_MOST_CHARACTERS = 128  # of a run's name: W&B's server refuses longer ones

# The folder, among a W&B run's files, with the run folder's own files: a downloaded run can be
# compared like a local one. It is a folder since W&B has a config.yaml of its own.
RECORD = "record"


def sign_in() -> bool:
    """Say whether the server answers; log a warning if it does not.

    A server that has answered is not asked again in the same process.

    Raises:
        ConfigError: if the API key is missing or refused.
    """
    import wandb
    from wandb.errors import AuthenticationError

    host = wandb.setup(wandb.Settings(silent=True, mode="online")).settings.base_url
    try:
        if wandb.login(prompt=False):
            return True
    except AuthenticationError as error:
        if "API key must" in str(error) or "error 401" in str(error) or "error 403" in str(error):
            reason = str(error).splitlines()[0]
            raise ConfigError(
                f"logger=wandb: {reason}; `wandb login --relogin`, or logger=offline"
            ) from error
        log.warning("%s does not answer; the run is kept offline, for `wandb sync`", host)
        return False
    raise ConfigError(f"logger=wandb: no API key for {host}; `wandb login`, or logger=offline")


def start_run(
    mode: Literal["online", "offline"], config: RunConfig, folder: Path, name: str, status: Status
) -> wandb.Run:
    """Open a run whose files lie in `folder`; go offline if the server does not answer.

    It replaces an earlier W&B run of `folder`, on the server and on disk: W&B cannot take rows
    back. A killed process also leaves a file that may lack its last seconds. `wandb sync` may even
    refuse that file, and all others with it.
    """
    import wandb
    from wandb.errors import CommError

    run_id = status.wandb_id or os.environ.get("WANDB_RUN_ID") or secrets.token_hex(4)
    status.wandb_id = run_id
    status.write(folder)
    files = wandb_folder(folder)
    # W&B takes the agent's project, entity and id in a sweep, and warns of others.
    in_sweep = is_in_sweep()

    def init(mode: Literal["online", "offline"]) -> wandb.Run:
        for earlier in (files / "wandb").glob(f"*run-*-{run_id}"):
            shutil.rmtree(earlier)
        return wandb.init(
            mode=mode,
            dir=files,
            project=None if in_sweep else config.logger.project,
            entity=None if in_sweep else config.logger.entity,
            id=None if in_sweep else run_id,
            group=config.study.name if config.study else None,  # None: W&B's own variable
            notes=config.study.note if config.study else None,  # likewise
            name=None if os.environ.get("WANDB_NAME") else name[:_MOST_CHARACTERS],
            tags=[*config.logger.tags, *(x[:64] for x in (*config.pathology, *config.remedy))],
            config=compared(config) | {"git": status.git, "folder": str(folder)},
            # Runs in one process stay separate; the git state is in the run's own record.
            reinit="create_new",
            settings=wandb.Settings(
                **settings_not_in_environment(
                    {
                        "silent": True,
                        "console": "off",
                        "symlink": False,  # a folder may be moved before it is synced
                        "init_timeout": _START_SECONDS,
                        "finish_timeout": _END_SECONDS,
                    }
                ),
                finish_timeout_raises=True,
                x_transaction_log_flush_interval=1.0,  # seconds that a killed run may lose
            ),
        )

    try:
        run = init(mode)
    except CommError as error:
        if mode == "offline":
            raise
        reason = str(error).splitlines()[0]
        log.warning("W&B: %s; the run is kept offline, for `wandb sync`", reason)
        run = init("offline")
    # What W&B has made, which in a sweep is the agent's choice.
    status.wandb_id = run.id
    status.write(folder)
    made = {"project": run.project, "entity": run.entity or None}
    logger = config.logger.model_copy(update={k: v for k, v in made.items() if v is not None})
    config.model_copy(update={"logger": logger}).save(folder / CONFIG)
    return run


def refuse_another_id(status: Status) -> None:
    """Raise ConfigError if a run with a W&B run would have to continue as another one.

    In a sweep W&B takes the agent's id; everywhere else a run keeps its own.
    """
    wanted = os.environ.get("WANDB_RUN_ID")
    if is_in_sweep() and status.wandb_id not in (None, wanted):
        raise ConfigError(
            f"WANDB_RUN_ID={wanted}: the run in this folder is {status.wandb_id} in W&B; "
            "continue it without the agent, or choose another hydra.run.dir"
        )


def attach_record(run: wandb.Run, folder: Path) -> None:
    """Upload the run folder's own small files to W&B, as they are now.

    They are files of the run, not an artifact: they need no version, and every server takes them.
    They are copies, which are still there when the run is synced from another place.
    """
    record = Path(run.dir) / RECORD
    record.mkdir(exist_ok=True)
    for name in (CONFIG, STATUS, METRICS, VERDICT, OVERRIDES):
        if (folder / name).exists():
            (record / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(folder / name, record / name)
    copy_as_one_part(folder, record)
    for file in record.rglob("*.*"):
        if file.is_file():
            with suppress(ConnectionError):  # `finish_run` tells
                run.save(file, base_path=run.dir, policy="now", glob=False)


def finish_run(run: wandb.Run, *, failed: bool) -> None:
    """Close a run, as failed or finished. Data that cannot be sent in time stays on disk.

    W&B's own process may be gone: Slurm sends SIGTERM to all processes of a job.
    """
    try:
        run.finish(exit_code=1 if failed else 0)
    except ConnectionError as error:
        log.warning("W&B's process has ended (%s); %s is in its files so far", error, run.id)
    except TimeoutError:
        log.warning(
            "W&B did not receive all of this run in time; later: wandb sync --include-online '%s'",
            run.settings.sync_dir,
        )
