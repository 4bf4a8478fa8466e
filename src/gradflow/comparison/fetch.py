"""Download runs from Weights & Biases as run folders, which are then read like any other.

A run uploads its folder's own files when it ends (see `runs/wandb_run.py`); these are downloaded. A
run without them is rebuilt from W&B's own data: its configuration, state, metrics and verdict, but
no gradients.
"""

from __future__ import annotations

import math
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from gradflow.comparison.wandb_server import one_line_errors
from gradflow.errors import ConfigError
from gradflow.gradients.verdict import Verdict
from gradflow.runs.files import CONFIG, GRADIENTS, METRICS, OVERRIDES, STATUS, VERDICT
from gradflow.runs.metrics_file import MetricsFile
from gradflow.runs.status import State, Status
from gradflow.runs.wandb_config import restored
from gradflow.runs.wandb_run import RECORD

if TYPE_CHECKING:
    from wandb.apis.public import Run

FORMS = "wandb:ENTITY/PROJECT, …/RUN or …/groups/STUDY, or the address of one of them in a browser"
# In a browser, a run's address always has `runs`, and more may follow.
_WANDB_ADDRESS = re.compile(r"wandb:([^/]+)/([^/]+)(?:/(groups/|runs/)?([^/]+))?")
_BROWSER_ADDRESS = re.compile(
    r"https?://[^/]+/([^/?#]+)/([^/?#]+)(?:/(groups/|runs/)([^/?#]+))?(?:[/?#].*)?"
)
# A server's list of files is somebody else's: only what a run's record consists of is downloaded.
_NAMES = "|".join(map(re.escape, (CONFIG, METRICS, OVERRIDES, STATUS, VERDICT)))
_FILE = re.compile(rf"{RECORD}/({_NAMES}|{re.escape(GRADIENTS)}/[\w-]+\.parquet)")
_TIMEOUT = 20  # seconds for each answer
_STATES: dict[str, State] = {
    "finished": "finished",
    "failed": "failed",
    "crashed": "interrupted",
    "killed": "interrupted",
    "preempted": "interrupted",
}


@dataclass(frozen=True)
class Address:
    """A parsed address: of a run, a study, or a whole project."""

    entity: str
    project: str
    study: str | None
    run: str | None

    @classmethod
    def parse(cls, text: str) -> Address:
        """Parse `text`.

        Raises:
            ConfigError: if it has none of the forms in `FORMS`.
        """
        parts = _WANDB_ADDRESS.fullmatch(text) or _BROWSER_ADDRESS.fullmatch(text)
        if parts is None:
            raise ConfigError(f"{text}: names no run; allowed: {FORMS}")
        entity, project, kind, last = parts.groups()
        study = last if kind == "groups/" else None
        return cls(entity, project, study, None if study else last)


def is_address(text: str) -> bool:
    """Say whether `text` is an address of runs on W&B, not a folder."""
    return text.startswith(("wandb:", "http://", "https://"))


def fetch_runs(text: str, into: Path) -> list[Path]:
    """Download the runs at an address into folders below `into`, a finished run only once.

    Raises:
        ConfigError: if there is no such run, or W&B does not answer.
    """
    address = Address.parse(text)
    import wandb

    with one_line_errors(text):
        # Without the entity, W&B would look up the user's own, which is not needed.
        api = wandb.Api(overrides={"entity": address.entity}, timeout=_TIMEOUT)
        project = f"{address.entity}/{address.project}"
        if address.run is not None:
            runs = [api.run(f"{project}/{address.run}")]
        else:
            wanted = {"group": address.study} if address.study is not None else {}
            runs = list(api.runs(project, filters=wanted, lazy=False))
        folders = [_fetch(run, into / address.entity / address.project / run.id) for run in runs]
    if not folders:
        raise ConfigError(f"{text}: contains no run")
    return folders


def _fetch(run: Run, folder: Path) -> Path:
    if not re.fullmatch(r"[\w-][\w.-]*", run.id):
        raise ConfigError(f"{run.id!r}: is no id of a run")
    local = Status.read(folder)
    if local is not None and local.state == "finished":
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        record = Path(temporary) / RECORD
        # The files of a run that was continued are those of its earlier part, until it ends.
        for file in run.files() if run.state != "running" else ():
            if _FILE.fullmatch(file.name):
                file.download(root=temporary, replace=True).close()
        if Status.read(record) is None:
            _rebuild(run, record)
        if folder.exists():
            shutil.rmtree(folder)
        record.replace(folder)
    return folder


def _rebuild(run: Run, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    (folder / CONFIG).write_text(yaml.safe_dump(restored(run.config), sort_keys=False))
    rows = [dict(row) for row in run.history(samples=10_000, pandas=False)]
    metrics = MetricsFile(folder)
    last: dict[str, float] = {}
    steps = 0
    for row in rows:
        values = _metrics(row)
        at = int(row.get("trainer/global_step", 0))
        steps = max(steps, at)
        if values:
            metrics.log_metrics(values, at)
            last |= values
    last.pop("epoch", None)
    summary: dict[str, Any] = dict(run.summary)
    status = Status(
        _STATES.get(run.state, "running"),
        start=run.created_at,
        steps=steps,
        metrics=last,
        wandb_id=run.id,
        host="",  # not this machine: `read_run` looks for no lock
        git=run.config.get("git") or {},
        versions={},
    )
    status.write(folder)
    kind = summary.get("verdict")
    if kind is not None:
        evidence = str(summary.get("verdict_evidence", ""))
        Verdict(kind, evidence, math.nan, steps, None, ()).write(folder)


def _metrics(row: Mapping[str, Any]) -> dict[str, float]:
    """Return a row's values that belong in metrics.csv: no histograms, pictures or gradients."""
    return {
        key: value
        for key, value in row.items()
        if isinstance(value, int | float) and not key.startswith(("_", "gradient_flow", "trainer/"))
    }
