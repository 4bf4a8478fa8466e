"""Runs read from their folders, whole or damaged."""

import math
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from hand_made import a_folder, record
from torch.nn import functional as F

from gradflow.comparison.runs import read_run, read_runs
from gradflow.comparison.table import print_table
from gradflow.config import compose
from gradflow.training.build import build_classifier, build_data
from gradflow.training.train import train

REPOSITORY = Path(__file__).parents[2]


def test_a_run_is_what_its_folder_says(tmp_path: Path) -> None:
    folder = a_folder(tmp_path / "run", steps=8, metrics={"train/loss": 2.0}, seconds=3.0)
    run = read_run(folder)
    assert (run.state, run.steps, run.seconds) == ("finished", 8, 3.0)
    assert run.metrics == {"train/loss": 2.0}
    assert run.axes == {"pathology": "vanishing", "remedy": "relu"}
    assert run.config["seed"] == 0


def test_a_run_is_cut_off_when_it_says_running_and_nobody_holds_its_lock(tmp_path: Path) -> None:
    folder = a_folder(tmp_path / "run", "running")
    assert read_run(folder).state == "cut off"
    with FileLock(folder / ".lock"):
        assert read_run(folder).state == "running"
    assert read_run(folder).state == "cut off"


def test_runs_are_found_at_any_depth_once_and_oldest_first(tmp_path: Path) -> None:
    late = a_folder(tmp_path / "a" / "late", start="2026-01-02T00:00:00+00:00")
    early = a_folder(tmp_path / "b" / "deep" / "early", start="2026-01-01T00:00:00+00:00")
    runs = read_runs([tmp_path, tmp_path / "a", early])
    assert [run.folder for run in runs] == [early, late]


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("status.json", '{"state": "finis'),
        ("status.json", "[]"),
        ("status.json", ""),
        ("status.json", "\xff"),
        ("config.yaml", None),
        ("config.yaml", "axes: {a: ["),
        ("config.yaml", "just words"),
        ("config.yaml", "axes: null"),
        ("config.yaml", "\xff"),
        ("gradients.parquet/part-0000000000.parquet", "PAR1 no more"),
    ],
)
def test_a_damaged_folder_breaks_neither_itself_nor_the_rest(
    tmp_path: Path, file: str, text: str | None
) -> None:
    good, bad = a_folder(tmp_path / "good"), a_folder(tmp_path / "bad")
    for folder in (good, bad):
        record(folder, 1e-6, 1.0)
    if text is None:
        (bad / file).unlink()
    else:
        (bad / file).write_text(text, encoding="latin-1")
    runs = {run.folder: run for run in read_runs([tmp_path])}
    assert runs.keys() == {good, bad}
    assert len(runs[good].layer_gradients()) == 2
    assert isinstance(runs[bad].layer_gradients(), list)
    print_table(list(runs.values()), title="damaged")


def test_layer_gradients_are_in_decades_from_input_to_output(tmp_path: Path) -> None:
    folder = a_folder(tmp_path / "run")
    record(folder, 1e-3, 0.0)
    (stem, first), (head, last) = read_run(folder).layer_gradients()
    assert (stem, head) == ("net.stem.conv.weight", "net.head.weight")
    assert first == pytest.approx(-3)
    assert last == -math.inf
    assert read_run(folder).layer_gradients(step=5) == []


def test_layer_gradients_are_those_of_autograd(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(REPOSITORY)
    config = compose(
        [
            "data=synthetic",
            "data.train_images=300",
            "data.validation=100",
            "data.batch_size=16",
            "model.depth=8",
            "model.width=4",
            "trainer=cpu",
            "logger=none",
            "steps=1",
            "test=false",
        ]
    )
    train(config, tmp_path)
    data = build_data(config)
    images, labels = next(iter(data.batches(data.load(), seed=0, channels_last=True).train))
    torch.manual_seed(0)
    net = build_classifier(config, data.num_classes).net
    layers = {f"net.{n}.weight": m.weight for n, m in net.named_modules() if isinstance(m, LAYERS)}
    loss = F.cross_entropy(net(images), labels)
    gradients = torch.autograd.grad(loss, list(layers.values()))
    expected = {
        name: gradient.double().square().mean().sqrt().log10().item()
        for name, gradient in zip(layers, gradients, strict=True)
    }
    found = read_run(tmp_path).layer_gradients()
    assert [name for name, _ in found] == list(expected)
    assert dict(found) == pytest.approx(expected, abs=1e-5)


LAYERS = (torch.nn.Conv2d, torch.nn.Linear)
