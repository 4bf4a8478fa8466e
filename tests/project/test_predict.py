"""scripts/predict.py gives image files the labels that the run's net gives those images."""

import csv
import io
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import grey_images
import numpy as np
import pytest
from PIL import Image
from records import status_of
from scripts import Done, caller
from small_run import REPOSITORY, SMALL

from gradflow.launch.compose import compose
from project.data import Synthetic
from project.train import train

Predict = Callable[..., Done]


@pytest.fixture
def predict(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Predict:
    """The script, in this process, which has its imports already."""

    return partial(caller(monkeypatch, capsys), "predict.py")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    train(compose([*SMALL, "steps=40", "validate_every=40"], REPOSITORY / "conf"), folder)
    return folder


def test_the_share_of_right_labels_in_files_is_the_runs_test_accuracy(
    tmp_path: Path, run: Path, predict: Predict
) -> None:
    images, labels = Synthetic(test_images=50, train_images=300, validation=100).load().test
    for k, image in enumerate(images):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(tmp_path / f"{k:02}.png")
    done = predict(run, tmp_path, "--csv")
    assert done.code == 0, done.err
    rows = list(csv.DictReader(io.StringIO(done.out)))
    assert [Path(row["file"]).stem for row in rows] == [f"{k:02}" for k in range(50)]
    right = [row["label"] == str(label) for row, label in zip(rows, labels.tolist(), strict=True)]
    accuracy = status_of(run).metrics["test/accuracy"]
    assert np.mean(right) == pytest.approx(accuracy, abs=1e-6)
    assert 0.15 < accuracy < 1  # so that neither chance nor a constant would do
    for row in rows:
        p = {k: float(row[f"p({k})"]) for k in range(10)}
        assert sum(p.values()) == pytest.approx(1, abs=1e-5)
        assert max(p, key=p.__getitem__) == int(row["label"])
        assert float(row["probability"]) == max(p.values())


def test_other_sizes_and_kinds_of_images_are_read_and_the_table_fits_its_width(
    tmp_path: Path, run: Path, predict: Predict
) -> None:
    files = []
    for mode, kind in (("L", "png"), ("RGBA", "webp"), ("CMYK", "jpg"), ("P", "bmp")):
        files.append(tmp_path / f"{mode}.{kind}")
        Image.new(mode, (57, 80), 1).save(files[-1])
    done = predict(run, *files)
    assert done.code == 0, done.err
    assert all(len(line) <= 140 for line in done.out.splitlines())
    for file in files:
        assert done.out.count(file.name) == 1


def test_a_run_on_folders_names_its_classes_although_its_images_are_gone(
    tmp_path: Path, predict: Predict
) -> None:
    words = grey_images.make(tmp_path / "images")
    kept = shutil.copy(next((tmp_path / "images/test").rglob("*.png")), tmp_path / "kept.png")
    small = [word for word in SMALL if not word.startswith("data")]
    train(compose([*small, *words], REPOSITORY / "conf"), tmp_path / "run")
    shutil.rmtree(tmp_path / "images")
    done = predict(tmp_path / "run", kept, "--csv")
    assert done.code == 0, done.err
    (row,) = csv.DictReader(io.StringIO(done.out))
    assert row["label"] in grey_images.CLASSES
    assert [name for name in row if name.startswith("p(")] == [
        f"p({name})" for name in grey_images.CLASSES
    ]


def test_what_is_no_image_or_no_run_is_one_line(
    tmp_path: Path, run: Path, predict: Predict
) -> None:
    (tmp_path / "text.png").write_text("no image")
    cut = tmp_path / "cut.png"
    Image.effect_noise((64, 64), 50).save(cut)
    cut.write_bytes(cut.read_bytes()[:600])
    (tmp_path / "empty").mkdir()
    for words, line in (
        ([run, tmp_path / "text.png"], "text.png: cannot be read: cannot identify image file"),
        ([run, cut], "cut.png: cannot be read: "),
        ([run, tmp_path / "nowhere.png"], "nowhere.png: No such file or directory"),
        ([run, tmp_path / "empty"], "empty: holds no images (.jpg, "),
        ([tmp_path, cut], "last.ckpt: there is no such checkpoint"),
    ):
        done = predict(*words)
        assert done.code == 2, done.err
        assert done.err.startswith("error: ")
        assert line in done.err
        assert done.err.count("\n") == 1
