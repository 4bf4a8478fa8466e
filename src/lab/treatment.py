"""Try the remedies that are recommended for a run, beside as many drawn at random.

The untreated run is trained again, and every remedy with the same seeds and steps. The verdict
recommends the remedies, and conf/lab/remedy defines them. This file knows none of them, and prints
nothing.

The trainings lie in treatments/<the run's path>/<override>/<steps and seed>. They are runs like any
other, so read_runs would find them if they lay below the run's folder or its study's.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import OverrideParseException

from gradflow.errors import ConfigError
from gradflow.gradients.verdict import Verdict
from gradflow.launch.compose import compose
from gradflow.launch.one_line import one_line
from gradflow.launch.resolvers import folder_name
from gradflow.runs.files import OVERRIDES, STATUS
from gradflow.runs.foreign import refuse_foreign_overrides
from gradflow.runs.plain_yaml import plain_yaml
from gradflow.runs.read import read_run
from project.config import Config
from project.train import PROJECT, train

LONGEST = 200  # steps by default, at most: enough to show whether a net trains
_TREATMENTS = Path("treatments")
_CONF = Path(__file__).parents[2] / "conf"
_REMEDIES = _CONF / "lab" / "remedy"
_RANKED = ("pathology", "remedy", "case")  # a remedy wins over these, but not over other overrides
# Keys that only name a configuration, or that change no result.
_IGNORED_KEYS = {"axes", "pathology", "remedy", "case", "logger", "study"}

Origin = Literal["untreated", "recommended", "random"]


@dataclass(frozen=True)
class Arm:
    """One treatment over all seeds. If it was not run, the tuples are empty."""

    override: str  # the override, as typed; "" for the untreated run
    origin: Origin
    verdicts: tuple[str, ...]  # one for each seed
    accuracies: tuple[float, ...]  # last train accuracy, 0 to 1, one for each seed; NaN if missing
    not_run: str | None = None  # why it was not run

    @property
    def learns(self) -> int:
        """The number of seeds whose verdict is healthy because the net learns."""
        return self.verdicts.count("healthy")

    @property
    def cured(self) -> bool:
        """Whether more than half of the seeds learn."""
        return 2 * self.learns > len(self.verdicts)


@dataclass(frozen=True)
class Trial:
    """A sick run, untreated and treated, with the same seeds and steps."""

    verdict: Verdict  # of the run itself, with the recommendations
    steps: int
    seeds: tuple[int, ...]
    untreated: Arm
    treated: tuple[Arm, ...]  # recommended ones in the verdict's order, then random ones

    def count(self, origin: Origin) -> tuple[int, int]:
        """Return how many arms of this origin are cured, and how many were run."""
        run = [arm for arm in self.treated if arm.origin == origin and arm.not_run is None]
        return sum(arm.cured for arm in run), len(run)

    def __str__(self) -> str:
        """Return the result as one sentence."""
        k, m = self.count("recommended")
        j, n = self.count("random")
        return f"{k} of {m} recommended cured it, {j} of {n} drawn at random"


def treat(
    folder: Path,
    seeds: int = 2,
    steps: int | None = None,
    random_count: int | None = None,
    *,
    trust: bool = False,
) -> Trial:
    """Train the sick run in `folder` untreated, with each recommended remedy, and with random ones.

    `seeds` counts the run's own seed and those after it. `steps` defaults to the run's steps, but
    at most LONGEST. `random_count` defaults to the number of recommended remedies that were run; it
    is lower if conf/lab/remedy has no more. The run's seed draws them from the remedies that change
    something and that no recommendation names. Finished trainings are not repeated. treatments/
    lies in the working directory, conf/ in the repository. Only with `trust` is anything built that
    `gradflow.runs.foreign` refuses.

    Raises:
        ConfigError: if the run cannot be treated or might run code, a number is out of range, or
            the run learns untreated with these seeds and steps.
        RunBusyError: if another process is computing one of the trainings.
        DataError: if the data cannot be loaded.
    """
    for option, number, least in (
        ("seeds", seeds, 1),
        ("steps", steps, 1),
        ("random", random_count, 0),
    ):
        if number is not None and number < least:
            raise ConfigError(f"{option}={number}: must be at least {least}")
    verdict = _verdict_of(folder)
    sick = _SickRun(folder, steps, trust)
    trial_seeds = range(sick.seed, sick.seed + seeds)

    untreated = sick.run("", "untreated", trial_seeds)
    if untreated.cured:
        raise ConfigError(
            f"{folder}: untreated, {untreated.learns} of {seeds} seeds learn in {sick.steps} "
            "steps, so there is nothing to cure; choose other steps or more seeds"
        )
    treated: list[Arm] = []
    tried: dict[str, dict[str, Any]] = {}  # configuration of each remedy that is run
    for override in verdict.remedies:
        reason = sick.skip_reason(override, tried)
        if reason is None:
            treated.append(sick.run(override, "recommended", trial_seeds))
        else:
            treated.append(Arm(override, "recommended", (), (), reason))
    wanted = sum(arm.not_run is None for arm in treated) if random_count is None else random_count
    for override in _shuffled(verdict.remedies, sick.seed):
        if wanted == 0:
            break
        if sick.skip_reason(override, tried) is None:
            arm = sick.run(override, "random", trial_seeds)
            if arm.not_run is None:
                treated.append(arm)
                wanted -= 1
    return Trial(verdict, sick.steps, tuple(trial_seeds), untreated, tuple(treated))


def _verdict_of(folder: Path) -> Verdict:
    """Return the verdict of the run in `folder`, if it has one with remedies."""
    if not folder.is_dir():
        raise ConfigError(f"{folder}: is not the folder of a run")
    if not (folder / STATUS).exists():
        raise ConfigError(f"{folder}: contains no run (no {STATUS}); name one run's own folder")
    verdict = read_run(folder).verdict
    if verdict is None:
        raise ConfigError(
            f"{folder}: has no verdict; its gradients were not watched, or it has not ended"
        )
    if not verdict.remedies:
        raise ConfigError(f"{folder}: its verdict is {verdict}; there is nothing to treat")
    return verdict


def _typed_overrides(folder: Path) -> list[str]:
    """Return the overrides of the run in `folder`."""
    path = folder / OVERRIDES
    try:
        overrides = plain_yaml(path.read_text())
    except FileNotFoundError:
        raise ConfigError(
            f"{folder}: has no {OVERRIDES} with its overrides; only runs of scripts/train.py "
            "can be treated"
        ) from None
    except (OSError, ValueError):
        overrides = None
    if not isinstance(overrides, list) or not all(isinstance(o, str) for o in overrides):
        raise ConfigError(f"{path}: is damaged; it must be a list of overrides")
    return overrides


def _trainings_folder(folder: Path) -> Path:
    """Mirror the run's path below treatments/, so that no two runs share a folder."""
    path, here = folder.resolve(), Path.cwd()
    inside = path.relative_to(here) if path.is_relative_to(here) else path.relative_to(path.anchor)
    return _TREATMENTS / inside


def _shuffled(recommended: Sequence[str], seed: int) -> list[str]:
    """Return the remedies that no recommendation names, shuffled with `seed`."""
    named = {name for override in recommended for name in _remedies(override)}
    files = {path.stem for path in _REMEDIES.glob("*.yaml")}
    names = sorted(files - named - {"none"})
    random.Random(seed).shuffle(names)
    return [f"remedy={name}" for name in names]


def _remedies(override: str) -> list[str]:
    """Return the remedies that an override names; an empty list if it has another key."""
    parsed = OverridesParser.create().parse_override(override)
    if parsed.key_or_group != "remedy":
        return []
    value = parsed.value()
    return [str(name) for name in value] if isinstance(value, list) else [str(value)]


class _SickRun:
    """Compose and train the run from its typed overrides, with a remedy's override added."""

    def __init__(self, run: Path, steps: int | None, trust: bool) -> None:
        typed_overrides = _typed_overrides(run)
        self._run, self._trust = run, trust
        self._folder = _trainings_folder(run)
        config = self._composed_safely(typed_overrides)
        self.seed = config.seed
        self.steps = steps or min(config.steps, LONGEST)
        self._composed: dict[tuple[str, ...], Config] = {}
        self._own_remedies = list(config.remedy)
        self._pathology = f"pathology=[{','.join(config.pathology)}]"
        self._typed_overrides = [o for o in typed_overrides if not _is_replaced(_key(o))]

    def compose(self, override: str, seed: int | None = None, without: str | None = None) -> Config:
        """Compose the run with `override` added, or unchanged if it is ""."""
        remedies = _remedies(override) if override else []
        # The last of two remedies for one axis wins, so a new one comes after the run's own.
        remedies = [name for name in self._own_remedies if name not in remedies] + remedies
        overrides = [o for o in self._typed_overrides if o != without]
        # A case means a pathology and a remedy. With another remedy it no longer applies.
        overrides += [self._pathology, f"remedy=[{','.join(remedies)}]", "logger=none"]
        overrides += ["test=false", f"steps={self.steps}"]
        overrides.append(f"seed={self.seed if seed is None else seed}")
        if override and not _remedies(override):
            overrides.append(override)
        key = tuple(overrides)
        if key not in self._composed:  # composing takes some tenths of a second
            self._composed[key] = self._composed_safely(overrides)
        return self._composed[key]

    def _composed_safely(self, overrides: list[str]) -> Config:
        """Compose what the run's files say; its overrides and its verdict's are both foreign."""
        if not self._trust:
            refuse_foreign_overrides(overrides, self._run)
        config: Config = compose(overrides, _CONF)
        if not self._trust:
            PROJECT.refuse_foreign_code(config, self._run)
        return config

    def skip_reason(self, override: str, tried: dict[str, dict[str, Any]]) -> str | None:
        """Return why `override` need not be run; otherwise add it to `tried` and return None."""
        try:
            treated = self._compared_settings(override)
        except ConfigError as error:
            return str(error)
        if treated == self._compared_settings(""):
            stronger = [o for o in self._typed_overrides if self._is_overruled(override, o)]
            return f"overruled by {', '.join(stronger)}" if stronger else "changes nothing here"
        for other, settings in tried.items():
            if treated == settings:
                return f"the same as {other} here"
        tried[override] = treated
        return None

    def run(self, override: str, origin: Origin, seeds: Sequence[int]) -> Arm:
        """Train with each seed. If a remedy cannot be configured, the arm holds the reason."""
        verdicts, accuracies = [], []
        for seed in seeds:
            config = self.compose(override, seed)
            folder = self._folder / folder_name(override or "untreated")
            folder /= f"steps={config.steps},seed={seed}"
            try:
                metrics = train(config, folder, f"{override or 'untreated'},seed={seed}")
            except ConfigError as error:
                if origin == "untreated":
                    raise
                return Arm(override, origin, (), (), str(error))
            verdicts.append(_verdict_label(Verdict.read(folder)))
            accuracies.append(metrics.get("train/accuracy", math.nan))
        return Arm(override, origin, tuple(verdicts), tuple(accuracies))

    def _compared_settings(self, override: str, without: str | None = None) -> dict[str, Any]:
        return self.compose(override, without=without).model_dump(exclude=_IGNORED_KEYS)

    def _is_overruled(self, override: str, by: str) -> bool:
        """Return whether `override` would change something without the typed override `by`.

        A typed override that sets the same as the remedy does not overrule it.
        """
        try:
            treated = self._compared_settings(override, without=by)
            return treated not in (
                self._compared_settings("", without=by),
                self._compared_settings(override),
            )
        except ConfigError:  # other overrides need this one
            return False


def _key(override: str) -> str:
    try:
        return str(OverridesParser.create().parse_override(override).key_or_group)
    except OverrideParseException as error:
        raise ConfigError(one_line(error)) from error


def _is_replaced(key: str) -> bool:
    return key in _RANKED or key.split(".")[0] == "logger"


def _verdict_label(verdict: Verdict | None) -> str:
    """Return a verdict's kind, but "healthy so far" if the loss does not show learning yet."""
    if verdict is None:
        return "not watched"
    # A healthy verdict has a confidence above 0.5 only if it rests on the loss.
    if verdict.kind == "healthy" and verdict.confidence <= 0.5:
        return "healthy so far"
    return verdict.kind
