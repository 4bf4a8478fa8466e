"""One run's W&B run, from its start to its end, whether or not the server is there.

A run is never failed by W&B, and waits for it at most the seconds below: what cannot be sent stays
in the run's folder, where `wandb sync` finds it. What is logged in between is not decided here.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from gradflow.errors import ConfigError
from gradflow.gradients.record import copy_as_one_part
from gradflow.runs.config import RunConfig
from gradflow.runs.files import CONFIG, METRICS, OVERRIDES, STATUS, VERDICT
from gradflow.runs.status import Status
from gradflow.runs.wandb_config import compared

if TYPE_CHECKING:  # half a second that only runs with W&B should pay
    import wandb

log = logging.getLogger(__name__)

# How long a run waits for a server, each time it has to: before it goes on without one, and when it
# ends. W&B itself would wait 90 s at the start, and for ever at the end.
_START_SECONDS, _END_SECONDS = 20.0, 30.0

# Below a W&B run's files: the run folder's own files, from which it can be compared like a folder.
# In a folder, since W&B has a config.yaml of its own.
RECORD = "record"


def sign_in() -> bool:
    """Say whether the server answers; a word on standard error where it does not.

    It is asked once a process, unless it was away the last time.

    Raises:
        ConfigError: if there is no API key, or none that the server takes.
    """
    import wandb
    from wandb.errors import AuthenticationError

    said = os.environ.get("WANDB_MODE", "online")
    if said not in ("online", "run"):
        raise ConfigError(f"logger=wandb: WANDB_MODE={said} says otherwise; unset one of the two")
    host = wandb.setup(wandb.Settings(silent=True)).settings.base_url
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
    """Open a run whose files lie in `folder`, offline where the server does not answer.

    Where `folder` had a W&B run before, this one takes its place, on the server and in `folder`:
    W&B cannot take rows back, and a killed process leaves a file that may lack its last seconds, or
    that `wandb sync` refuses and all others with it.
    """
    import wandb
    from wandb.errors import CommError

    run_id = status.wandb_id or secrets.token_hex(4)
    status.wandb_id = run_id
    status.write(folder)

    def init(mode: Literal["online", "offline"]) -> wandb.Run:
        for earlier in (folder / "wandb").glob(f"*run-*-{run_id}"):
            shutil.rmtree(earlier)
        return wandb.init(
            mode=mode,
            dir=folder,
            project=config.logger.project,
            entity=config.logger.entity,
            group=config.study.name if config.study else None,
            name=name,
            tags=[*config.logger.tags, *config.pathology, *config.remedy],
            config=compared(config) | {"git": status.git, "folder": str(folder)},
            id=run_id,
            # Several runs in one process stay several; git state is in the run's own record.
            reinit="create_new",
            settings=wandb.Settings(
                silent=True,
                console="off",
                symlink=False,  # a folder may be moved before it is synced
                init_timeout=_START_SECONDS,
                finish_timeout=_END_SECONDS,
                finish_timeout_raises=True,
                x_transaction_log_flush_interval=1.0,  # what a killed run may lose, in seconds
            ),
        )

    try:
        return init(mode)
    except CommError as error:
        if mode == "offline":
            raise
        reason = str(error).splitlines()[0]
        log.warning("W&B: %s; the run is kept offline, for `wandb sync`", reason)
        return init("offline")


def attach_record(run: wandb.Run, folder: Path) -> None:
    """Give W&B the run folder's own small files, as they are now.

    As files of the run, not as an artifact: they need no version, and every server has them. As
    copies, so that they are still there when the run is synced from another place.
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
            run.save(file, base_path=run.dir, policy="now", glob=False)


def finish_run(run: wandb.Run, *, failed: bool) -> None:
    """Close a run; a failed one shows as failed. What cannot be sent in time stays on disk."""
    try:
        run.finish(exit_code=1 if failed else 0)
    except TimeoutError:
        log.warning(
            "W&B has not taken all of this run in time; later: wandb sync --include-online '%s'",
            run.settings.sync_dir,
        )
