"""Remedies are tried as they would be typed, in pairs with the untreated run, and counted.

Where only the composing matters, a stand-in for training notes what it is given and leaves a
verdict; the last test trains.
"""

import math
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hand_made import a_folder

from gradflow.errors import ConfigError
from gradflow.gradients.verdict import Verdict
from gradflow.launch.compose import compose
from gradflow.runs.read import read_runs
from lab import treatment
from lab.treatment import Arm, Trial, treat
from project.config import Config
from project.train import train

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Treatments go below the working directory, where conf/ is looked for too."""
    (tmp_path / "conf").symlink_to(REPOSITORY / "conf")
    monkeypatch.chdir(tmp_path)


class Trained:
    """Replaces train(): notes each configuration with its folder."""

    def __init__(self) -> None:
        self.configs: list[tuple[Config, Path]] = []
        self.learns: Callable[[Config], bool] = lambda config: False
        self.refuses: Callable[[Config], bool] = lambda config: False
        self.confidence = 0.9

    def __call__(self, config: Config, folder: Path, name: str) -> dict[str, float]:
        if self.refuses(config):
            raise ConfigError("cannot be built")
        self.configs.append((config, folder))
        folder.mkdir(parents=True, exist_ok=True)
        healthy = self.learns(config)
        kind: Any = "healthy" if healthy else "vanishing"
        Verdict(kind, "it shows", self.confidence, 99, None, ()).write(folder)
        return {"train/accuracy": 0.5 if healthy else 0.1}

    def under(self, override: str) -> Config:
        """Return the first configuration that was trained in the folder of `override`."""
        return next(c for c, folder in self.configs if folder.parent.name == override)


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> Trained:
    stand_in = Trained()
    monkeypatch.setattr(treatment, "train", stand_in)
    return stand_in


def sick_run(folder: Path, overrides: list[str], remedies: list[str]) -> Path:
    """Write a run's folder with typed overrides and a verdict with these remedies."""
    a_folder(folder)
    type_in(folder, overrides)
    Verdict("vanishing", "it shows", 0.9, 99, None, tuple(remedies)).write(folder)
    return folder


def type_in(folder: Path, overrides: Any) -> None:
    (folder / ".hydra").mkdir()
    (folder / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump(overrides))


def test_every_treatment_has_the_seeds_and_steps_of_the_untreated_run(trained: Trained) -> None:
    overrides = ["pathology=vanishing", "seed=3", "steps=5000", "logger.mode=offline", "test=true"]
    run = sick_run(Path("run"), overrides, ["remedy=[relu,kaiming]"])
    trial = treat(run, seeds=2)
    given: dict[str, list[tuple[int, int]]] = {}
    for config, folder in trained.configs:
        given.setdefault(folder.parent.name, []).append((config.seed, config.steps))
    assert len(given) == 1 + 1 + 1
    assert all(pairs == [(3, 200), (4, 200)] for pairs in given.values())
    assert {config.logger.mode for config, _ in trained.configs} == {"none"}
    assert not any(config.test for config, _ in trained.configs)
    assert (trial.seeds, trial.steps) == ((3, 4), 200)


@pytest.mark.parametrize(("own", "requested", "steps"), [(50, None, 50), (50, 300, 300)])
def test_steps_default_to_the_runs_own(
    trained: Trained, own: int, requested: int | None, steps: int
) -> None:
    run = sick_run(Path("run"), [f"steps={own}"], ["optimizer=adam"])
    assert treat(run, seeds=1, steps=requested, random_count=0).steps == steps
    assert {config.steps for config, _ in trained.configs} == {steps}


def test_a_remedy_joins_those_the_run_had_and_wins_over_them(trained: Trained) -> None:
    overrides = ["pathology=vanishing", "remedy=[xavier,clip]"]
    run = sick_run(Path("run"), overrides, ["remedy=[relu,kaiming]"])
    treat(run, seeds=1, random_count=0)
    assert list(trained.under("untreated").remedy) == ["xavier", "clip"]
    treated = trained.under("remedy=[relu,kaiming]")
    assert list(treated.remedy) == ["xavier", "clip", "relu", "kaiming"]
    axes = {key: treated.axes[key] for key in ("pathology", "activation", "init", "clip")}
    assert axes == {
        "pathology": "vanishing",
        "activation": "relu",
        "init": "kaiming_normal",
        "clip": "norm",
    }


def test_an_override_replaces_one_of_the_same_key(trained: Trained) -> None:
    overrides = ["lr_scale=0.1", "optimizer=adamw"]
    run = sick_run(Path("run"), overrides, ["lr_scale=10", "optimizer=adam"])
    treat(run, seeds=1, random_count=0)
    assert trained.under("lr_scale=10").lr_scale == 10
    assert trained.under("lr_scale=10").axes["optimizer"] == "adamw"
    assert trained.under("optimizer=adam").axes["optimizer"] == "adam"
    assert trained.under("optimizer=adam").lr_scale == 0.1


def test_a_case_stands_for_its_pathology_and_remedy_and_a_study_for_its_values(
    trained: Trained,
) -> None:
    overrides = ["study=demo", "case=exploding_clip"]
    run = sick_run(Path("run"), overrides, ["remedy=lower_lr"])
    treat(run, seeds=1, random_count=0)
    treated = trained.under("remedy=lower_lr")
    assert treated.axes["pathology"] == "exploding"
    assert (list(treated.remedy), treated.case, treated.study) == (["clip", "lower_lr"], None, None)
    assert (treated.data["batch_size"], treated.steps) == (64, 200)  # those of study=demo


def test_what_changes_nothing_is_not_run_and_says_why(trained: Trained) -> None:
    overrides = ["pathology=vanishing", "activation=sigmoid", "norm=batch", "model.depth=8"]
    remedies = ["remedy=relu", "remedy=batch_norm", "remedy=[relu,xavier]", "remedy=xavier"]
    trial = treat(sick_run(Path("run"), overrides, remedies), seeds=1, random_count=0)
    assert [arm.not_run for arm in trial.treated] == [
        "overruled by activation=sigmoid",
        "changes nothing here",
        None,
        "the same as remedy=[relu,xavier] here",
    ]
    assert len(trained.configs) == 2
    assert trial.count("recommended") == (0, 1)


def test_a_remedy_that_typed_overrides_forbid_does_not_stop_the_others(trained: Trained) -> None:
    run = sick_run(Path("run"), ["optimizer.nesterov=true"], ["optimizer=adam", "lr_scale=10"])
    refused, run_all_the_same = treat(run, seeds=1, random_count=0).treated
    assert "optimizer.nesterov" in str(refused.not_run)
    assert run_all_the_same.not_run is None


def test_a_remedy_that_training_refuses_is_not_counted_and_another_one_is_drawn(
    trained: Trained,
) -> None:
    trained.refuses = lambda config: config.lr_scale == 10
    overrides, remedies = ["pathology=vanishing"], ["lr_scale=10"]
    trial = treat(sick_run(Path("run"), overrides, remedies), seeds=1, random_count=0)
    assert trial.treated == (Arm("lr_scale=10", "recommended", (), (), "cannot be built"),)
    refused: list[str] = []

    def first_drawn(config: Config) -> bool:
        if config.remedy and not refused:
            refused.extend(config.remedy)
        return list(config.remedy) == refused != []

    trained.refuses = first_drawn
    trial = treat(sick_run(Path("another"), overrides, remedies), seeds=1)
    assert len(refused) == 1
    assert trial.count("random") == (0, 1)
    assert trial.treated[1].override != f"remedy={refused[0]}"
    trained.refuses = lambda config: True
    with pytest.raises(ConfigError, match="cannot be built"):
        treat(sick_run(Path("third"), overrides, remedies))


def test_random_remedies_are_all_that_are_neither_recommended_nor_already_there(
    trained: Trained,
) -> None:
    """The verdict names two remedies, and the pathology already has `kaiming`."""
    run = sick_run(Path("run"), ["pathology=vanishing"], ["remedy=[relu,xavier]", "lr_scale=10"])
    trial = treat(run, seeds=1, random_count=100)
    files = {path.stem for path in (REPOSITORY / "conf" / "lab" / "remedy").glob("*.yaml")}
    drawn = [arm.override for arm in trial.treated if arm.origin == "random"]
    assert sorted(drawn) == sorted(
        f"remedy={name}" for name in files - {"none", "relu", "xavier", "kaiming"}
    )


def test_as_many_are_drawn_as_recommended_ones_are_run_by_the_runs_seed(trained: Trained) -> None:
    drawn = {}
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        overrides = ["pathology=vanishing", f"seed={seed}"]
        remedies = ["remedy=relu", "remedy=kaiming", "lr_scale=10"]  # one changes nothing
        trial = treat(sick_run(Path(name), overrides, remedies), seeds=1)
        drawn[name] = [arm.override for arm in trial.treated if arm.origin == "random"]
    assert [len(remedies) for remedies in drawn.values()] == [2, 2, 2]
    assert drawn["a"] == drawn["b"] != drawn["c"]


def test_the_sentence_counts_what_is_cured_of_what_was_run(trained: Trained) -> None:
    trained.learns = lambda config: config.axes["norm"] == "batch"
    remedies = ["remedy=relu", "remedy=batch_norm", "remedy=[resnet,batch_norm]"]
    run = sick_run(Path("run"), ["pathology=vanishing"], remedies)
    trial = treat(run, seeds=1, random_count=1)
    assert [arm.cured for arm in trial.treated] == [False, True, True, False]
    assert trial.treated[1].accuracies == (0.5,)
    assert trial.untreated.accuracies == (0.1,)
    assert str(trial) == "2 of 3 recommended cured it, 0 of 1 drawn at random"


@pytest.mark.parametrize(
    ("verdicts", "learns", "cured"),
    [
        (("healthy",), 1, True),
        (("healthy", "frozen"), 1, False),
        (("healthy", "frozen", "healthy"), 2, True),
        (("healthy so far", "healthy so far"), 0, False),
        ((), 0, False),
    ],
)
def test_cured_means_that_more_than_half_of_the_seeds_learn(
    verdicts: tuple[str, ...], learns: int, cured: bool
) -> None:
    arm = Arm("remedy=relu", "recommended", verdicts, (math.nan,) * len(verdicts))
    assert (arm.learns, arm.cured) == (learns, cured)


def test_a_net_too_young_to_have_learned_is_not_cured(trained: Trained) -> None:
    """Below some records a healthy verdict says no more than that nothing is amiss."""
    trained.learns = lambda config: config.lr_scale == 10
    trained.confidence = 0.5
    trial = treat(sick_run(Path("run"), [], ["lr_scale=10"]), seeds=2, random_count=0)
    assert trial.treated[0].verdicts == ("healthy so far", "healthy so far")
    assert trial.count("recommended") == (0, 1)


def test_treatments_lie_apart_from_the_run_and_from_other_runs_of_its_name(
    trained: Trained,
) -> None:
    first = sick_run(Path("multirun/a/run"), ["seed=1"], ["lr_scale=10"])
    second = sick_run(Path("multirun/b/run"), ["seed=2"], ["lr_scale=10"])
    before = sorted(Path("multirun").rglob("*"))
    for run in (first, second.resolve()):
        treat(run, seeds=1, random_count=0)
    assert sorted(Path("multirun").rglob("*")) == before
    folders = [folder for _, folder in trained.configs]
    assert len(set(folders)) == 4
    assert {folder.parts[:4] for folder in folders} == {
        ("treatments", "multirun", "a", "run"),
        ("treatments", "multirun", "b", "run"),
    }


def test_a_run_that_learns_untreated_leaves_nothing_to_cure(trained: Trained) -> None:
    trained.learns = lambda config: True
    run = sick_run(Path("run"), [], ["lr_scale=10"])
    with pytest.raises(ConfigError, match="untreated, 2 of 2 seeds learn in 200 steps"):
        treat(run)
    assert len(trained.configs) == 2


def _healthy(run: Path) -> None:
    Verdict("healthy", "the loss is 1.2, chance 2.3", 0.9, 99, None, ()).write(run)


def _damage(text: str) -> Callable[[Path], object]:
    return lambda run: (run / ".hydra" / "overrides.yaml").write_text(text)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_healthy, "run: its verdict is healthy: the loss is 1.2, chance 2.3; there is nothing"),
        (lambda run: (run / "verdict.json").unlink(), "run: has no verdict"),
        (lambda run: (run / "status.json").unlink(), r"run: contains no run \(no status.json\)"),
        (
            lambda run: (run / ".hydra" / "overrides.yaml").unlink(),
            "run: has no .hydra/overrides.yaml",
        ),
        (_damage("words: ["), "overrides.yaml: is damaged"),
        (_damage("seed: 3"), "overrides.yaml: is damaged"),
        (_damage("- seed"), "seed: cannot be read"),
        (_damage("- remedy=reul"), "remedy=reul: there is no such choice"),
    ],
)
def test_a_run_that_cannot_be_treated_says_so_in_one_line(
    trained: Trained, spoil: Callable[[Path], object], message: str
) -> None:
    run = sick_run(Path("run"), [], ["lr_scale=10"])
    spoil(run)
    with pytest.raises(ConfigError, match=message) as refused:
        treat(run)
    assert "\n" not in str(refused.value)
    assert not trained.configs


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"seeds": 0}, "seeds=0: must be at least 1"),
        ({"steps": 0}, "steps=0: must be at least 1"),
        ({"random_count": -1}, "random=-1: must be at least 0"),
    ],
)
def test_numbers_out_of_range_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        treat(sick_run(Path("run"), [], ["lr_scale=10"]), **wrong)
    with pytest.raises(ConfigError, match="nowhere: is not the folder of a run"):
        treat(Path("nowhere"))


def test_the_script_trains_each_treatment_once_and_tells_what_cured(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the real train(): a learning rate of 0.3 diverges, a tenth of it does not."""
    overrides = ["pathology=exploding", "lr=0.3", "data=synthetic", "data.train_images=300"]
    overrides += ["data.validation=100", "data.test_images=50", "data.batch_size=16", "data.pad=0"]
    overrides += ["data.flip=false", "model.depth=8", "model.width=4", "trainer=cpu", "threads=1"]
    overrides += ["monitor.every_n_steps=5", "steps=40", "logger=none", "test=false"]
    run = Path("outputs/run")
    train(compose(overrides), run)
    type_in(run, overrides)
    verdict = Verdict.read(run)
    assert verdict is not None
    assert "remedy=lower_lr" in verdict.remedies
    Verdict(verdict.kind, "it shows", 1.0, 39, None, ("remedy=lower_lr",)).write(run)
    for arguments in (["--seeds", "1", "--random", "0"],) * 2:
        monkeypatch.setattr(sys, "argv", ["treat.py", str(run), *arguments])
        runpy.run_path(str(REPOSITORY / "scripts" / "lab" / "treat.py"), run_name="__main__")
        printed = capsys.readouterr().out
        (row,) = [line for line in printed.splitlines() if "remedy=lower_lr" in line]
        assert [cell.strip() for cell in row.split("│")[2:5]] == ["recommended", "1", "1 healthy"]
        assert row.rstrip("│ ").endswith("yes")
        assert "1 of 1 recommended cured it, 0 of 0 drawn at random" in printed
    treatments = read_runs([Path("treatments")])
    assert [run.state for run in treatments] == ["finished", "finished"]
    assert {run.metrics["train/accuracy"] > 0.5 for run in treatments} == {True, False}
    assert [found.folder for found in read_runs([Path("outputs")])] == [run]


def test_the_result_is_plain_data() -> None:
    verdict = Verdict("frozen", "it shows", 0.9, 99, None, ("remedy=relu",))
    untreated = Arm("", "untreated", ("frozen",), (0.1,))
    cured = Arm("remedy=relu", "recommended", ("healthy",), (0.4,))
    void = Arm("remedy=selu", "recommended", (), (), "changes nothing here")
    at_random = Arm("remedy=clip", "random", ("frozen",), (0.1,))
    trial = Trial(verdict, 100, (0,), untreated, (cured, void, at_random))
    assert (trial.count("recommended"), trial.count("random")) == ((1, 1), (0, 1))


FOREIGN = {
    "model._target_=torch.hub.load": "is not built",
    "model._target_=planted.Net": "is not built",
    "project=planted.PROJECT": "is not taken",
    "hydra.searchpath=[/tmp]": "is not taken",
    "lr=${oc.env:LR}": "is not resolved",
    "model=../../evil": "is a file outside of conf/",
}


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that the import of a module called planted would write."""
    Path("planted.py").write_text("open('canary', 'w')\n")
    monkeypatch.syspath_prepend(str(Path.cwd()))
    return Path("canary")


@pytest.mark.parametrize("override", FOREIGN)
def test_a_run_whose_overrides_could_run_code_is_not_treated(
    override: str, trained: Trained, planted: Path
) -> None:
    run = sick_run(Path("run"), ["pathology=vanishing", override], ["remedy=relu"])
    with pytest.raises(ConfigError) as refused:
        treat(run, seeds=1, random_count=0)
    assert str(refused.value).startswith(f"run: {override}: {FOREIGN[override]}")
    assert trained.configs == []
    assert not planted.exists()


@pytest.mark.parametrize("override", FOREIGN)
def test_a_verdict_that_recommends_such_an_override_is_not_followed(
    override: str, trained: Trained, planted: Path
) -> None:
    (arm,) = treat(sick_run(Path("run"), [], [override]), seeds=1, random_count=0).treated
    assert (arm.not_run or "").startswith(f"run: {override}: {FOREIGN[override]}")
    assert not planted.exists()


def test_with_trust_it_is(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("mine.py").write_text("import torch\n\n\nclass Act(torch.nn.ReLU):\n    pass\n")
    monkeypatch.syspath_prepend(str(Path.cwd()))
    run = sick_run(Path("run"), ["activation._target_=mine.Act"], ["norm=batch"])
    with pytest.raises(ConfigError, match="is not built"):
        treat(run, seeds=1, random_count=0)
    treat(run, seeds=1, random_count=0, trust=True)
    assert trained.configs[0][0].activation["_target_"] == "mine.Act"
