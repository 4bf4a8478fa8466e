"""A run killed with -9 and started again is, bit for bit, the run that nobody interrupted.

As in tests/gradflow, but with the template's own net, data, task and schedule.
"""

import signal
from pathlib import Path

import pytest
from records import assert_identical, checkpoint, crash, status_of
from small_run import DYING, REPOSITORY, SMALL, run

from gradflow.errors import ConfigError
from gradflow.gradients.record import read_gradients
from gradflow.launch.compose import compose
from gradflow.training.evaluate import evaluate
from project.tasks import Classifier
from project.train import PROJECT, train

pytestmark = pytest.mark.slow

# An epoch has 12 batches: checkpoints fall inside epochs and on their ends, and, with a window of
# four steps, inside windows and on their ends. RReLU, augmentation and momentum hold state.
RUN = [*SMALL, "steps=48", "validate_every=6", "activation=rrelu", "scheduler=one_cycle"]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("uninterrupted")
    train(compose(RUN, REPOSITORY / "conf"), folder)
    return folder


@pytest.mark.parametrize(
    ("when", "step", "saved"),
    [
        ("step", 22, 18),  # resumes within an epoch and within a window
        ("validation", 30, 24),  # resumes at the end of an epoch; the row of step 30 is written
    ],
)
def test_a_killed_run_continues_bit_for_bit(
    tmp_path: Path, uninterrupted: Path, when: str, step: int, saved: int
) -> None:
    folder = tmp_path / "run"
    killed = run(tmp_path, *DYING, when, str(step), *RUN, f"hydra.run.dir={folder}")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert checkpoint(folder)["global_step"] == saved
    train(compose(RUN, REPOSITORY / "conf"), folder)

    status = status_of(folder)
    assert (status.state, status.resumed, status.steps) == ("finished", 1, 48)
    expected, actual = checkpoint(uninterrupted), checkpoint(folder)
    for part in ("state_dict", "optimizer_states", "lr_schedulers"):
        assert_identical(actual[part], expected[part])
    assert actual["logged_at"] == expected["logged_at"] == 48
    assert (folder / "metrics.csv").read_text() == (uninterrupted / "metrics.csv").read_text()
    assert read_gradients(folder).equals(read_gradients(uninterrupted))
    best = [checkpoint(run, "best")["state_dict"] for run in (folder, uninterrupted)]
    assert_identical(*best)


def test_weights_of_64_bits_are_not_rounded_when_a_run_resumes_or_is_evaluated(
    tmp_path: Path,
) -> None:
    config = compose(
        [*SMALL, "precision=64-true", "checkpoint.every_n_steps=3", "dry_step=false"],
        REPOSITORY / "conf",
    )
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    metrics = train(config, whole)
    with crash(Classifier, "on_train_batch_end", 4):
        train(config, cut)
    assert checkpoint(cut)["global_step"] == 3
    assert train(config, cut) == metrics
    assert_identical(checkpoint(cut)["state_dict"], checkpoint(whole)["state_dict"])
    assert evaluate(PROJECT, cut).items() <= metrics.items()


def test_a_run_goes_on_with_more_steps_unless_its_schedule_depends_on_them(tmp_path: Path) -> None:
    config = [*SMALL, "test=false", "dry_step=false"]
    for choice in ("cosine", "one_cycle", "constant"):
        train(compose([*config, f"scheduler={choice}"], REPOSITORY / "conf"), tmp_path / choice)
    longer = [*config, "steps=16"]
    for choice, key in (("cosine", "T_max"), ("one_cycle", "total_steps")):
        words = [*longer, f"scheduler={choice}"]
        with pytest.raises(ConfigError, match=rf"scheduler\.{key}=8, not 16; choose another"):
            train(compose(words, REPOSITORY / "conf"), tmp_path / choice)
    train(compose(longer, REPOSITORY / "conf"), tmp_path / "constant")
    train(compose(longer, REPOSITORY / "conf"), tmp_path / "whole")
    for part in ("state_dict", "optimizer_states", "lr_schedulers", "loops"):
        one, other = (checkpoint(tmp_path / name)[part] for name in ("constant", "whole"))
        assert_identical(one, other)
