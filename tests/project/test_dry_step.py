"""The dry step before a run: what it refuses is refused before anything is made or fetched."""

import signal
from pathlib import Path

import pytest
from records import assert_identical, checkpoint, crash, rows_of
from small_run import REPOSITORY, SMALL, run

from gradflow.errors import ConfigError
from gradflow.launch.compose import compose
from project.data import CIFAR10
from project.tasks import Classifier
from project.train import train


def fit(folder: Path, *words: str) -> dict[str, float]:
    return train(compose([*SMALL, *words], REPOSITORY / "conf"), folder)


PRUNING = (
    "{_target_: lightning.pytorch.callbacks.ModelPruning, pruning_fn: l1_unstructured, amount: 0.3}"
)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["+model.in_channels=1"], "src/project/models/convnet.py:"),
        (["+model.in_channels=1"], "expected input[16, 3, 32, 32] to have 1 channels"),
        (["+model.num_classes=2"], "Target 9 is out of bounds"),
        (["callbacks=early_stopping", "callbacks.early_stopping.monitor=validation/f1"], "`valid"),
        ([f"+callbacks.prune={PRUNING}"], "ModelPruning: RuntimeError: view size is not compat"),
        (["comparison.headline.metric=f1"], "could not find the monitored key"),
    ],
)
def test_what_fails_only_in_training_is_one_line_before_anything_is_fetched_or_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], said: str
) -> None:
    def fetch(_: CIFAR10) -> None:
        raise AssertionError("the data was asked for")

    monkeypatch.setattr(CIFAR10, "read_images", fetch)
    config = [word for word in SMALL if not word.startswith("data")]
    with pytest.raises(ConfigError) as refused:
        train(compose([*config, *words], REPOSITORY / "conf"), tmp_path / "run")
    assert str(refused.value).startswith("dry step: ")
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)
    assert [path.name for path in (tmp_path / "run").iterdir()] == [".lock"]


def test_pruning_works_with_the_other_memory_layout(tmp_path: Path) -> None:
    fit(tmp_path, f"+callbacks.prune={PRUNING}", "channels_last=false")


@pytest.mark.parametrize(
    "words", [[], ["accumulate=3"], ["activation=rrelu", "norm=none", "lr=0.01"]]
)
def test_it_changes_no_number_of_the_run(tmp_path: Path, words: list[str]) -> None:
    fit(tmp_path / "with", *words)
    fit(tmp_path / "without", *words, "dry_step=false")
    one, other = (checkpoint(tmp_path / name)["state_dict"] for name in ("with", "without"))
    assert_identical(one, other)
    assert rows_of(tmp_path / "with") == rows_of(tmp_path / "without")


def test_a_run_that_is_resumed_is_not_tried_again(tmp_path: Path) -> None:
    with crash(Classifier, "on_train_batch_end", 6):
        fit(tmp_path, "dry_step=false")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("project.train.dry_step", lambda *_, **__: pytest.fail("tried again"))
        fit(tmp_path, "dry_step=false", "dry_step=true")


def test_a_command_that_is_refused_leaves_no_folder(tmp_path: Path) -> None:
    done = run(tmp_path, *SMALL, "+model.in_channels=1", f"hydra.run.dir={tmp_path}/run")
    assert done.returncode == 2
    assert done.stderr.startswith("error: dry step: src/project/models/convnet.py:")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("stop", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_within_it_ends_the_process_with_its_own_code(
    tmp_path: Path, stop: signal.Signals, code: int
) -> None:
    (tmp_path / "stopping.py").write_text(
        "import os, signal, lightning\n"
        "class Stop(lightning.Callback):\n"
        "    def on_train_batch_start(self, trainer, *_):\n"
        f"        os.kill(os.getpid(), {int(stop)})\n"
    )
    callback = "+callbacks.stop={_target_: stopping.Stop}"
    done = run(tmp_path, *SMALL, callback, f"hydra.run.dir={tmp_path}/run")
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run/status.json").exists()
