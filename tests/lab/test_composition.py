"""The composition contract: what wins over what, and what swapping a group leaves as it was.

Read from Hydra's own composed config, not resolved, and compared with the YAML files themselves.
"""

import itertools
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
import pytest
import shipped
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from gradflow.launch.compose import compose
from gradflow.launch.plugins import register
from project.config import Config

# On one worker, so that the pairs are composed once.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("composition")]

Composer = Callable[..., DictConfig]
Pairs = dict[tuple[str, str], DictConfig]

# Remedies that a pathology has from the start: the pair is the untreated net under another name.
ALREADY_THERE = {
    "none": {"relu", "batch_norm", "resnet", "kaiming"},
    "vanishing": {"kaiming"},
    "vanishing_init": set(),
    "frozen": {"relu"},
    "large_weights": {"relu"},
    "saturated_sigmoid": set(),
    "saturated_tanh": set(),
    "exploding": {"selu"},
    "unnormalized_resnet": {"relu", "resnet", "kaiming"},
    "degradation": {"relu", "batch_norm", "kaiming"},
    "dying_relu": {"relu", "kaiming"},
}


@pytest.fixture(scope="module")
def composer(conf: Path) -> Composer:
    """Hydra's own composition, with conf/lab on its path; no more stands between."""
    register()

    def composed(*words: str) -> DictConfig:
        with hydra.initialize_config_dir(str(conf), version_base="1.3"):
            return hydra.compose("train", list(words), return_hydra_config=True)

    return composed


@pytest.fixture(scope="module")
def pairs(composer: Composer) -> Pairs:
    """Every pathology with every remedy."""
    every = itertools.product(shipped.names("pathology"), shipped.names("remedy"))
    return {(p, r): composer(f"pathology={p}", f"remedy={r}") for p, r in every}


def plain(composed: DictConfig, *, without: tuple[str, ...] = ("hydra",)) -> dict[str, Any]:
    keys = [key for key in composed if key not in without]
    masked = OmegaConf.masked_copy(composed, keys)
    content = OmegaConf.to_container(masked, resolve=False)
    assert isinstance(content, dict)
    return content


def sized_out(group: str, node: dict[str, Any]) -> dict[str, Any]:
    kept = shipped.SIZE if group == "model" else ()
    return {key: value for key, value in node.items() if key not in kept}


def test_a_remedy_wins_over_the_pathology(composer: Composer) -> None:
    assert composer("pathology=vanishing").activation._target_ == "torch.nn.Sigmoid"
    for words in itertools.permutations(["pathology=vanishing", "remedy=relu"]):
        assert composer(*words).activation._target_ == "torch.nn.ReLU"


def test_the_command_line_wins_over_pathology_and_remedy(composer: Composer) -> None:
    for words in itertools.permutations(["activation=tanh", "pathology=vanishing", "remedy=relu"]):
        assert composer(*words).activation._target_ == "torch.nn.Tanh"
    words = ["lr=0.3", "lr_scale=0.7", "model.depth=8", "pathology=vanishing", "remedy=lower_lr"]
    composed = composer(*words)
    assert (composed.lr, composed.lr_scale, composed.model.depth) == (0.3, 0.7, 8)


def test_a_list_of_remedies_applies_each(composer: Composer) -> None:
    composed = composer("pathology=vanishing", "remedy=[relu,batch_norm]")
    assert composed.activation._target_ == "torch.nn.ReLU"
    assert composed.norm._target_ == "torch.nn.BatchNorm2d"
    assert list(composed.remedy) == ["relu", "batch_norm"]


def test_a_case_selects_its_pathology_and_its_remedy(composer: Composer) -> None:
    for name in shipped.names("case"):
        composed, wanted = composer(f"case={name}"), shipped.selects("case", name)
        assert set(wanted) == {"pathology", "remedy"}, name
        assert composed.case == name
        for group, choice in wanted.items():
            assert list(composed[group]) == [w for w in [choice] if w != "none"], name
        same = composer(*(f"{group}={choice}" for group, choice in wanted.items()))
        unlike = ("hydra", "case")
        assert plain(composed, without=unlike) == plain(same, without=unlike), name


def test_pathologies_and_remedies_say_their_own_name() -> None:
    for group in ("pathology", "remedy"):
        for name in shipped.names(group):
            remedies = list(shipped.read(group, name).get(group, {}))
            assert remedies == ([] if name == "none" else [name]), f"{group}={name}"


def test_a_swapped_net_keeps_its_size(pairs: Pairs) -> None:
    for (pathology, remedy), composed in pairs.items():
        wanted = shipped.read("pathology", pathology).get("model")
        if wanted is not None:
            assert set(wanted) == set(shipped.SIZE), pathology
            assert {key: composed.model[key] for key in shipped.SIZE} == wanted, remedy
    deep = pairs["degradation", "resnet"].model
    assert (deep.depth, deep.skip) == (56, True)


def test_after_composing_each_group_equals_one_of_its_own_files(pairs: Pairs) -> None:
    groups = [group for group in shipped.groups() if group not in shipped.SELECTING]
    files = {
        group: [
            sized_out(group, content.get(group, {}) if group in ("optimizer", "task") else content)
            for content in (shipped.read(group, name) for name in shipped.names(group))
        ]
        for group in groups
    }
    for pair, composed in pairs.items():
        content = plain(composed)
        for group in groups:
            matching = files[group].count(sized_out(group, content[group]))
            assert matching == 1, f"{pair}: {group}={content[group]} is {matching} of its files"


def test_every_pathology_composes_with_every_remedy_in_effect(pairs: Pairs) -> None:
    for pair, composed in pairs.items():
        remedy = pair[1]
        for group, choice in shipped.selects("remedy", remedy).items():
            assert composed.hydra.runtime.choices[group] == choice, pair
        for key, value in shipped.read("remedy", remedy).items():
            assert composed[key] == value, f"{pair}: {key}"


def test_remedies_that_change_nothing_are_declared(pairs: Pairs) -> None:
    """Undeclared ones and stale declarations both fail."""
    content = {pair: plain(it, without=("hydra", "remedy")) for pair, it in pairs.items()}
    found = {
        pathology: {
            remedy
            for remedy in shipped.names("remedy")
            if remedy != "none" and content[pathology, remedy] == content[pathology, "none"]
        }
        for pathology in shipped.names("pathology")
    }
    assert found == ALREADY_THERE


def test_lower_lr_multiplies_whatever_the_learning_rate_was(conf: Path) -> None:
    for words, lr in (([], 0.1), (["pathology=vanishing"], 0.02), (["optimizer=adam"], 1e-3)):
        config = compose([*words, "remedy=lower_lr"], conf)
        assert (config.lr, config.lr_scale) == (lr, 0.1)
    config = compose(["remedy=lower_lr", "scheduler=one_cycle"], conf)
    assert config.scheduler["max_lr"] == pytest.approx(0.01)


def test_the_optimizer_brings_the_learning_rate(composer: Composer) -> None:
    for name in shipped.names("optimizer"):
        assert composer(f"optimizer={name}").lr == shipped.read("optimizer", name)["lr"]


def test_axes_record_every_axis_with_its_resolved_choice(conf: Path) -> None:
    words = ["pathology=vanishing", "remedy=[relu,batch_norm]", "callbacks=[early_stopping]"]
    assert compose(words, conf).axes == {
        "pathology": "vanishing",
        "remedy": "relu+batch_norm",
        "model": "plain_cnn",
        "activation": "relu",
        "norm": "batch",
        "branch": "none",
        "init": "kaiming_normal",
        "clip": "none",
        "optimizer": "sgd",
        "scheduler": "constant",
        "data": "cifar10",
        "task": "classification",
        "trainer": "auto",
        "logger": "offline",
        "monitor": "gradients",
        "callbacks": "early_stopping",
    }


def test_the_axes_are_the_groups_of_conf() -> None:
    assert sorted(Config.AXES) == sorted(set(shipped.groups()) - {"lab", "case", "study", "debug"})


def test_every_value_that_a_study_sweeps_composes(composer: Composer) -> None:
    """Each with the first value of the other axes: all products would take minutes."""
    for name in shipped.names("study"):
        study = OmegaConf.load(shipped.file("study", name))
        assert study.hydra.mode == "MULTIRUN", name
        assert study.study.name == name
        words = [f"{key}={value}" for key, value in study.hydra.sweeper.params.items()]
        swept = OverridesParser.create().parse_overrides(words)
        choices = [
            [f"{it.key_or_group}={value}" for value in it.sweep_string_iterator()]
            if it.is_discrete_sweep()
            else [f"{it.key_or_group}={it.value().start}"]
            if it.is_interval_sweep()
            else [str(it.input_line)]
            for it in swept
        ]
        first = [values[0] for values in choices]
        jobs = {
            (*first[:i], value, *first[i + 1 :])
            for i, values in enumerate(choices)
            if not values[0].startswith("seed=")
            for value in values
        }
        assert len(jobs) > 1 or words == [f"seed={study.hydra.sweeper.params.seed}"], name
        for job in jobs or {tuple(first)}:
            composed = composer(f"study={name}", *job)
            assert composed.study.name == name
            for word in job:
                group, _, choice = word.partition("=")
                # Hydra's own list of choices lacks a list such as [relu,batch_norm].
                if group in shipped.groups() and not choice.startswith("["):
                    assert composed.hydra.runtime.choices[group] == choice


@pytest.mark.slow
def test_a_multirun_sweeps_lists_of_remedies(tmp_path: Path) -> None:
    """The real command, in its own process: one folder with a finished run for each job."""
    words = ["remedy=none,[relu,batch_norm]", "pathology=vanishing", "data=synthetic"]
    words += ["model.depth=8", "model.width=4", "steps=2", "logger=none", "test=false"]
    script = shipped.CONF.parent / "scripts" / "train.py"
    done = subprocess.run(
        [sys.executable, str(script), "-m", *words, f"hydra.sweep.dir={tmp_path / 'study'}"],
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    configs = [OmegaConf.load(path) for path in (tmp_path / "study").rglob("config.yaml")]
    states = [OmegaConf.load(path).state for path in (tmp_path / "study").rglob("status.json")]
    assert states == ["finished", "finished"]
    remedies = {c.axes.remedy for c in configs if "axes" in c}
    assert remedies == {"none", "relu+batch_norm"}
