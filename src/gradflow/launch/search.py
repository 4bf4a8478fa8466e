"""Search settings with Hydra's Optuna sweeper: what a trial is worth, and how a search goes on.

The sweeper suggests overrides, runs them as jobs and takes each job's return value. Here are the
parts that it leaves open. The direction is that of the headline metric. The trials are kept in a
file in the study's folder, so that the same command continues the search: trials that were cut off
come first, with the same overrides and so in the same folders, and `n_trials` counts all launches.
"""

from __future__ import annotations

import logging
import shlex
import sys
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from packaging.version import Version

from gradflow.comparison.objective import objective
from gradflow.errors import ConfigError
from gradflow.launch.resolvers import task_overrides
from gradflow.runs.files import OVERRIDES
from gradflow.runs.read import Run, read_run

if TYPE_CHECKING:
    import optuna

TRIALS = "search.db"
LOCK = ".search.lock"
_BELOW = {"sqlalchemy": "2", "alembic": "1.16"}  # newer ones break its file of trials
_DIRECTIONS = {"max": "maximize", "min": "minimize"}


def is_search(config: DictConfig) -> bool:
    """Say whether the multirun's sweeper is Optuna's."""
    return "optuna" in str(OmegaConf.select(config, "hydra.sweeper._target_"))


def trial_value(folder: Path, composed: DictConfig) -> float | None:
    """Return the objective of the job in `folder`; None while another process computes its run."""
    run = read_run(folder)
    if run.state == "running":
        return None
    return objective(run, str(OmegaConf.select(composed, "comparison.headline.direction")))


def prepare(config: DictConfig) -> FileLock:
    """Complete the sweeper's settings, and continue the trials of earlier launches.

    Returns the search's lock, which is held until the process ends.

    Raises:
        ConfigError: if the search space is invalid or not that of the earlier trials, or if another
            launch is searching.
    """
    _check_versions()
    sweeper = config.hydra.sweeper
    words = [*(f"{key}={value}" for key, value in (sweeper.params or {}).items())]
    space, fixed = _space([*words, *task_overrides(config.hydra)])
    folder = Path(config.hydra.sweep.dir)
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK, is_singleton=True)  # a second pass has it already
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise ConfigError(
            f"{folder}: another launch is searching here; for parallel trials, one launch with "
            "hydra/launcher=joblib hydra.sweeper.n_jobs=2"
        ) from None
    with read_write(config.hydra), open_dict(config.hydra):
        sweeper.direction = _DIRECTIONS[config.comparison.headline.direction]
        sweeper.storage = sweeper.storage or f"sqlite:///{folder / TRIALS}"
        sweeper.study_name = sweeper.study_name or config.study.name
        sweeper.max_failure_rate = 1.0  # a trial without a value is no end of the search
        # W&B's names and long folder names depend on it, and only Hydra's own sweeper saves it.
        OmegaConf.save(config, folder / "multirun.yaml")
        study = _open_study(sweeper)
        earlier = study.get_trials(deepcopy=False)
        _check_continuation(earlier, space, fixed, folder, config)
        sweeper.n_trials = max(0, sweeper.n_trials - _retry(study))
        if "seed" in sweeper.sampler:
            # The same seed again would suggest the first trials again.
            first = config.seed if sweeper.sampler.seed is None else sweeper.sampler.seed
            sweeper.sampler.seed = first + len(earlier)
    return lock


def command_line(run: Run) -> str:
    """Return the command line that trains one run of a search again, by itself."""
    overrides = [str(word) for word in OmegaConf.load(run.folder / OVERRIDES)]
    words = [word for word in overrides if not word.startswith("study.name=")]
    in_file = any(word.startswith("study=") for word in words)
    words += ["hydra.mode=RUN"] if in_file else []
    return shlex.join(["python", sys.argv[0], *words])


def _check_versions() -> None:
    for name, below in _BELOW.items():
        if Version(installed := version(name)) >= Version(below):
            raise ConfigError(
                f"{name} {installed} is installed; the Optuna sweeper needs {name}<{below}: "
                "uv pip install -e '.[optuna]'"
            )


def _space(words: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the distributions that are searched, and the overrides that all trials share."""
    from hydra_plugins.hydra_optuna_sweeper._impl import create_params_from_overrides

    try:
        space, fixed = create_params_from_overrides(list(words))
    except (ValueError, AssertionError, NotImplementedError) as error:
        raise ConfigError(f"search space: {str(error).rstrip('.')}") from error
    space = {key: values for key, values in space.items() if key not in fixed}
    if not space:
        raise ConfigError(
            "search space: empty; allowed: lr='tag(log,interval(0.001,1))', model.depth=8,20,32 …"
        )
    return space, fixed


def _open_study(sweeper: DictConfig) -> optuna.Study:
    import optuna

    optuna.logging.set_verbosity(logging.WARNING)
    return optuna.create_study(
        storage=sweeper.storage,
        study_name=sweeper.study_name,
        directions=[sweeper.direction],
        load_if_exists=True,
    )


def _check_continuation(
    earlier: Iterable[optuna.trial.FrozenTrial],
    space: dict[str, Any],
    fixed: dict[str, Any],
    folder: Path,
    config: DictConfig,
) -> None:
    """Refuse to mix trials of two searches: of other distributions, or with other settings."""
    from optuna.distributions import check_distribution_compatibility

    # Other overrides would give the continued trials other folders.
    ignored = config.hydra.job.config.override_dirname.exclude_keys
    # The settings that all trials share are attributes of those that were suggested.
    for trial in (trial for trial in earlier if trial.user_attrs or trial.params):
        for key, known in trial.distributions.items():
            try:
                if key not in space:
                    raise ValueError
                check_distribution_compatibility(known, space[key])
            except ValueError:
                raise ConfigError(
                    f"{folder}: holds a search over {key} in {known}, not in "
                    f"{space.get(key, 'this launch')}; choose another study.name"
                ) from None
        for key in sorted({*trial.user_attrs, *fixed} - {*trial.params}):
            before, value = trial.user_attrs.get(key), fixed.get(key)
            if before != value and key not in ignored:
                raise ConfigError(
                    f"{folder}: holds a search {_with(key, before)}, and this launch is "
                    f"{_with(key, value)}; choose another study.name"
                )


def _with(key: str, value: Any) -> str:
    return f"without {key}" if value is None else f"with {key}={value}"


def _retry(study: optuna.Study) -> int:
    """Queue the trials that an earlier launch did not end; return how many have a value."""
    from optuna.trial import TrialState

    trials = study.get_trials(deepcopy=False)
    done = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    queued = [
        *(trial.params for trial in done),
        *(trial.system_attrs["fixed_params"] for trial in trials if trial.state.name == "WAITING"),
    ]
    for trial in trials:
        if trial.state is TrialState.RUNNING:
            study.tell(trial.number, state=TrialState.FAIL)
        unended = trial.state in (TrialState.RUNNING, TrialState.FAIL)
        if unended and trial.params and trial.params not in queued:
            study.enqueue_trial(trial.params)
            queued.append(trial.params)
    return len(done)
