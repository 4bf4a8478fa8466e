"""Any net, any data, any task: foreign ones train, resume, and are recorded and judged."""

import math
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grey_images
import numpy as np
import pytest
import torch
from records import assert_identical, checkpoint, crash, rows_of, status_of
from small_run import REPOSITORY, SMALL

from gradflow.comparison.configurations import configurations
from gradflow.comparison.table import cells
from gradflow.errors import ConfigError, DataError
from gradflow.gradients.flow import read_flows
from gradflow.gradients.record import read_gradients
from gradflow.gradients.verdict import Verdict
from gradflow.launch.compose import compose
from gradflow.runs.read import read_run
from gradflow.training.evaluate import evaluate
from project.build import build_data, build_task
from project.data import ImageFolders
from project.tasks import Classifier
from project.train import PROJECT, train

EXAMPLES = REPOSITORY / "docs/examples"
NET_AXES = ("model.depth=8", "model.width=4")  # which only the template's own nets have
ANY = [word for word in SMALL if word not in NET_AXES]
RUN = ["trainer=cpu", "logger=none", "threads=1", "steps=8", "validate_every=4", "log_every=4"]


def build(*words: str) -> Any:
    config = compose(words, REPOSITORY / "conf")
    return build_task(config, build_data(config))


def fit(folder: Path, *words: str) -> dict[str, float]:
    return train(compose(words, REPOSITORY / "conf"), folder)


@pytest.mark.parametrize(
    "net",
    [
        pytest.param(["model=resnet18"], marks=pytest.mark.slow, id="torchvision"),
        pytest.param(["model=timm", "model.model_name=resnet10t"], id="timm"),
    ],
)
def test_a_net_of_another_library_is_trained_judged_and_resumed_to_the_same_weights(
    tmp_path: Path, net: list[str]
) -> None:
    words = [*ANY, *net, "monitor.every_n_steps=1"]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    fit(whole, *words)
    with crash(Classifier, "on_train_batch_end", 6):
        fit(cut, *words)
    fit(cut, *words)
    assert_identical(checkpoint(cut)["state_dict"], checkpoint(whole)["state_dict"])
    assert rows_of(cut) == rows_of(whole)
    flows = read_flows(read_gradients(whole))
    assert [flow.step for flow in flows] == list(range(8))
    assert len(flows[0].layers) > 8
    assert flows[0].outputs == 10
    assert Verdict.read(whole) is not None


def test_a_net_of_another_library_keeps_its_own_initial_weights_unless_an_init_is_chosen() -> None:
    from torchvision.models import resnet18

    def first(*words: str) -> torch.Tensor:
        torch.manual_seed(3)
        return build("model=resnet18", *words).net.conv1.weight

    torch.manual_seed(3)
    own = resnet18(num_classes=10).conv1.weight
    assert torch.equal(first(), own)
    assert not torch.equal(first("init=orthogonal"), own)


@pytest.mark.parametrize(
    ("words", "axis"),
    [
        (["activation=relu"], "activation=relu"),  # chosen, though it is the default
        (["norm=group"], "norm=group"),
        (["+channels=1", "activation=gelu"], "channels"),
    ],
)
def test_an_axis_that_was_chosen_and_has_no_effect_is_refused(words: list[str], axis: str) -> None:
    with pytest.raises(ConfigError) as refused:
        build("model=resnet18", *words)
    assert str(refused.value).startswith(f"{axis}")
    assert "\n" not in str(refused.value)
    if axis.startswith(("activation", "norm")):
        assert "has no effect with model=resnet18" in str(refused.value)


@pytest.fixture(scope="module")
def grey(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return grey_images.make(tmp_path_factory.mktemp("grey"))


def test_a_folder_of_grey_images_trains_with_workers(tmp_path: Path, grey: list[str]) -> None:
    words = [*RUN, *NET_AXES, *grey, "steps=24", "validate_every=12", "lr=0.05"]
    metrics = fit(tmp_path, *words)
    assert metrics["train/loss"] < math.log(7)
    flow = read_flows(read_gradients(tmp_path))[0]
    assert flow.outputs == 7
    shares = [count / sum(grey_images.TRAIN) for count in grey_images.TRAIN]
    assert flow.chance == pytest.approx(-sum(p * math.log(p) for p in shares), rel=1e-6)


def test_a_folder_says_its_classes_and_one_that_is_missing_is_one_line(
    tmp_path: Path, grey: list[str]
) -> None:
    data = build_data(compose(grey, REPOSITORY / "conf"))
    assert isinstance(data, ImageFolders)
    assert data.classes == grey_images.CLASSES
    assert data.class_counts == grey_images.TRAIN
    images, labels = next(iter(data.test_dataloader()))
    assert images.shape == (16, 1, *grey_images.SIZE)
    assert images.min() >= -1
    assert images.max() <= 1
    assert labels.dtype == torch.int64
    with pytest.raises(DataError, match=r"nowhere/train: no folder of images: ") as refused:
        build(*grey, f"data.root={tmp_path / 'nowhere'}")
    assert "\n" not in str(refused.value)


@pytest.fixture
def examples(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Where the examples of docs/ are, for imports."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    yield
    for name in ("regression", "multilabel", "two_optimizers", "stripes"):
        sys.modules.pop(name, None)


WEIGHTS = ("stem.conv.weight", "head.weight")
TASKS = {
    "regression": (["data=lengths"], "absolute_error"),
    "multilabel": (["data=signs", "model.hidden_channels=[32,32,5]"], "f1"),
    "adversarial": (["data=lengths", "model.hidden_channels=[32,32,8]"], "distance"),
}


@pytest.mark.usefixtures("examples")
@pytest.mark.parametrize("task", TASKS)
def test_an_example_of_another_task_is_compared_by_its_own_metric(
    tmp_path: Path, task: str
) -> None:
    words, metric = TASKS[task]
    search = f"hydra.searchpath=[file://{EXAMPLES / 'conf'}]"
    words = [*RUN, search, f"task={task}", "model=mlp", "optimizer=adam", "lr=0.01", *words]
    metrics = fit(tmp_path, *words, "steps=60", "validate_every=20")
    status = status_of(tmp_path)
    assert (status.state, status.steps) == ("finished", 60)
    assert f"test/{metric}" in metrics
    assert not [name for name in metrics if "accuracy" in name]
    table = [str(cell) for cell in cells(*configurations([read_run(tmp_path)]))[0]]
    assert [cell for cell in table if metric in cell]
    assert not [cell for cell in table if "accuracy" in cell]
    verdict = Verdict.read(tmp_path)
    assert verdict is not None
    # As the loss function's targets tell it; with two optimizers nothing is said of losses.
    assert (", chance " in verdict.evidence) == (task != "adversarial")


@pytest.mark.usefixtures("examples")
def test_the_example_of_images_in_memory_is_learned(tmp_path: Path) -> None:
    search = f"hydra.searchpath=[file://{EXAMPLES / 'conf'}]"
    words = [*RUN, *NET_AXES, search, "data=stripes", "lr=0.05", "steps=60", "validate_every=60"]
    assert fit(tmp_path, *words)["test/accuracy"] > 0.9
    first, last = (checkpoint(tmp_path)["state_dict"][f"net.{k}"].shape for k in WEIGHTS)
    assert (first[1], last[0]) == (1, 4)


@pytest.mark.usefixtures("examples")
def test_images_of_another_shape_than_a_data_set_says_are_one_line() -> None:
    search = f"hydra.searchpath=[file://{EXAMPLES / 'conf'}]"
    data = build_data(compose([search, "data=stripes"], REPOSITORY / "conf"))
    data.size = (12, 13)
    with pytest.raises(DataError, match=r"^Stripes: images of shape \(1200, 1, 12, 12\), and "):
        data.load()


@pytest.mark.usefixtures("examples")
def test_a_task_that_learns_is_healthy_against_the_variance_of_its_targets(tmp_path: Path) -> None:
    search = f"hydra.searchpath=[file://{EXAMPLES / 'conf'}]"
    words = [*RUN, search, "task=regression", "data=lengths", "model=mlp", "optimizer=adam"]
    fit(tmp_path, *words, "lr=0.01", "steps=60", "validate_every=20")
    verdict = Verdict.read(tmp_path)
    assert verdict is not None
    assert verdict.kind == "healthy"
    assert ", chance " in verdict.evidence


def test_cifar100_is_torchvisions_and_no_way_to_it_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Archive:
        """What torchvision makes of the archive: bytes (N, H, W, C) and a list of labels."""

        def __init__(self, root: Path, train: bool, download: bool) -> None:
            assert download
            count = 50_000 if train else 10_000
            self.data = np.zeros((count, 32, 32, 3), dtype=np.uint8)
            self.data[7, 1, 2, 0] = 9
            self.targets = [k % 100 for k in range(count)]

    data = build_data(compose(["data=cifar100", f"data.root={tmp_path}"], REPOSITORY / "conf"))
    monkeypatch.setattr("torchvision.datasets.CIFAR100", Archive)
    splits = data.load()
    assert [len(split.labels) for split in splits] == [45_000, 5000, 10_000]
    assert splits.train.images[7, 0, 1, 2] == 9
    assert torch.bincount(splits.validation.labels).tolist() == [50] * 100
    assert len(set(data.classes)) == 100
    assert list(data.classes) == sorted(data.classes)  # as the archive numbers them

    def away(*_: object, **__: object) -> None:
        raise OSError("no route\nto it")

    monkeypatch.setattr("torchvision.datasets.CIFAR100", away)
    monkeypatch.setattr(type(data), "_loaded", {})
    with pytest.raises(DataError, match=r"^CIFAR-100: cannot be fetched to .*: no route; put "):
        data.load()


def test_a_run_is_fine_tuned_with_frozen_layers_and_continues_without_its_source(
    tmp_path: Path,
) -> None:
    source, whole, cut = (tmp_path / name for name in ("source", "whole", "cut"))
    fit(source, *SMALL)
    words = [*SMALL, f"weights={source}", "weights_except=[head]", "freeze=[stem]", "lr=0.5"]
    fit(whole, *words)
    with crash(Classifier, "on_train_batch_end", 6):
        fit(cut, *words)
    before, after = checkpoint(source)["state_dict"], checkpoint(whole)["state_dict"]
    shutil.rmtree(source)
    fit(cut, *words)
    assert_identical(checkpoint(cut)["state_dict"], after)
    assert evaluate(PROJECT, cut) == evaluate(PROJECT, whole)
    stem = [name for name in before if name.startswith("net.stem") and name.endswith("weight")]
    assert stem
    assert all(torch.equal(before[name], after[name]) for name in stem)
    assert not torch.equal(before["net.head.weight"], after["net.head.weight"])


def test_fine_tuning_begins_at_the_figures_where_the_other_run_ended(tmp_path: Path) -> None:
    fit(tmp_path / "source", *SMALL)
    task = build(*SMALL, f"weights={tmp_path / 'source'}")
    trained = checkpoint(tmp_path / "source")["state_dict"]
    own = {name: tensor for name, tensor in trained.items() if name.startswith("net.")}
    assert_identical(own, {k: v for k, v in task.state_dict().items() if k.startswith("net.")})


def test_an_init_that_saved_weights_would_overwrite_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^init=orthogonal: has no effect with weights$"):
        build(*SMALL, "init=orthogonal", "weights=somewhere")


@pytest.mark.parametrize("debug", ["fast", "overfit", "profile"])
def test_each_debug_runs_to_its_end(tmp_path: Path, debug: str) -> None:
    words = ["data=synthetic", "data.train_images=300", "data.validation=100", *NET_AXES]
    metrics = fit(tmp_path, *words, "data.batch_size=16", "trainer=cpu", f"debug={debug}")
    assert status_of(tmp_path).state == "finished"
    if debug == "fast":
        assert {"validation/loss", "test/loss"} <= metrics.keys()
    elif debug == "overfit":  # sixteen images by heart
        assert metrics["train/accuracy"] == 1
        assert metrics["train/loss"] < 0.1
    else:
        assert "run_training_batch" in (tmp_path / "fit-profile.txt").read_text()
