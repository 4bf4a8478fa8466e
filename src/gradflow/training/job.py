"""One Hydra job: the composed configuration becomes a run in the job's own folder.

In a multirun a job that fails must not take the others along, and Hydra's launchers leave its log
empty: here its traceback is written, and the failure is left in status.json for the end's table.
"""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from gradflow.config import ConfigError, from_hydra
from gradflow.gradients.verdict import Verdict
from gradflow.training.status import REFUSAL, RunBusyError, Status, now, write_refusal
from gradflow.training.train import train

log = logging.getLogger(__name__)


def run_job(composed: DictConfig) -> dict[str, float] | None:
    """Run one job and return its metrics; None for a job of a multirun that failed."""
    words = HydraConfig.get()
    folder = Path(words.runtime.output_dir)
    in_study = words.mode == RunMode.MULTIRUN
    name = run_name()
    if not in_study:
        return _run_alone(composed, folder, name)
    begun = now()
    try:
        (folder / REFUSAL).unlink(missing_ok=True)
        metrics = train(from_hydra(composed), folder, name)
    except RunBusyError as error:
        log.warning("%s; left to it", error)
        return None
    except Exception as error:
        _record_failure(folder, error, begun)
        # What the user can mend needs one line, everything else its traceback.
        log.error("%s failed: %s", name, error, exc_info=not isinstance(error, ConfigError))
        return None
    log.info("%s: %s", name, _short(metrics, Verdict.read(folder)))
    return metrics


def _run_alone(composed: DictConfig, folder: Path, name: str) -> dict[str, float]:
    try:
        metrics = train(from_hydra(composed).model_copy(update={"study": None}), folder, name)
    except ConfigError:
        _remove_what_hydra_wrote(folder)
        raise
    verdict = Verdict.read(folder)
    log.info("%s: %s", name, _short(metrics, None))
    if verdict is not None:
        log.info("%s (confidence %.0f %%)", verdict, 100 * verdict.confidence)
        if verdict.remedies:
            log.info("to try, in this order: %s", "  ".join(map(_quoted, verdict.remedies)))
    log.info("record: %s", folder)
    return metrics


def _record_failure(folder: Path, error: Exception, begun: str) -> None:
    """Leave the failure in the folder; the record of an earlier run in there stays as it is."""
    first = f"{type(error).__name__}: {error}".splitlines()[0]
    status = Status.read(folder)
    if status is None:
        Status("failed", end=now(), error=first).write(folder)
    elif status.state != "failed" or status.start < begun:  # refused before training began
        write_refusal(folder, first)


def _remove_what_hydra_wrote(folder: Path) -> None:
    """Remove the folder that Hydra made for a run that was then refused, if nothing else is in it.

    The user may have named a folder that was there before, so nothing is removed that is not known
    by its name to be of this launch, and no folder that is not empty by then.
    """
    words = folder / ".hydra"
    written = {words, folder / "train.log", folder / ".lock"}
    inside = {words / f"{name}.yaml" for name in ("config", "hydra", "overrides")}
    if not set(folder.iterdir()) <= written or not set(words.glob("*")) <= inside:
        return
    for path in (*inside, *(written - {words})):
        path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        words.rmdir()
        folder.rmdir()


def run_name() -> str:
    """Name the running job by its overrides; in a multirun, by those in which its jobs differ."""
    words = HydraConfig.get()
    overrides: list[str] = list(words.overrides.task)
    sweep = Path(words.sweep.dir) / "multirun.yaml"  # Hydra's own record of the command line
    if words.mode == RunMode.MULTIRUN and sweep.exists():
        swept = _swept(sweep)
        overrides = [word for word in overrides if word.split("=")[0] in swept]
    overrides = [word for word in overrides if not word.startswith("study")]
    return ",".join(overrides) or "default"


def _swept(sweep: Path) -> set[str]:
    recorded = OmegaConf.load(sweep)
    words = [str(word) for word in OmegaConf.select(recorded, "hydra.overrides.task") or []]
    params = OmegaConf.select(recorded, "hydra.sweeper.params") or {}
    words += [f"{key}={value}" for key, value in params.items()]
    parsed = OverridesParser.create().parse_overrides(words)
    return {override.key_or_group for override in parsed if override.is_sweep_override()}


def _short(metrics: dict[str, float], verdict: Verdict | None) -> str:
    shown = ("train/loss", "train/accuracy", "validation/accuracy", "test/accuracy")
    figures = [f"{key} {metrics[key]:.3f}" for key in shown if key in metrics]
    return ", ".join([*figures, *([verdict.kind] if verdict else [])])


def _quoted(override: str) -> str:
    """As a shell takes it."""
    return f"'{override}'" if "[" in override else override
