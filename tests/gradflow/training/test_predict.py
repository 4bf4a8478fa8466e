"""Predictions from files are those of the run's own net, whatever the task returns."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from records import checkpoint
from small_project import FEATURES, PROJECT, Fit, Points, fit
from torch import Tensor, nn

from gradflow.errors import ConfigError, DataError
from gradflow.training import predict as library

predict = partial(library.predict, PROJECT)


def read(data: Points, path: Path) -> Tensor:
    """An input that is written as numbers in a text file."""
    return torch.tensor([float(word) for word in path.read_text().split()])


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    monkeypatch.setattr(Points, "read", read, raising=False)
    monkeypatch.setattr(Fit, "predict_step", lambda task, batch, _: task.net(batch), raising=False)
    fit(tmp_path / "run", "steps=2")
    paths = [tmp_path / f"{k}.txt" for k in range(70)]  # more than one batch
    for k, path in enumerate(paths):
        path.write_text(" ".join(str(k / 70 + i) for i in range(FEATURES)))
    return paths


def by_hand(run: Path, path: Path) -> float:
    net = nn.Sequential(nn.Linear(FEATURES, 8), nn.ReLU(), nn.Linear(8, 1))
    state = checkpoint(run)["state_dict"]
    net.load_state_dict({name.removeprefix("net."): tensor for name, tensor in state.items()})
    numbers: float = net(read(None, path)).item()  # type: ignore[arg-type]
    return numbers


def test_each_file_gets_the_output_of_the_runs_net_in_the_order_given(
    tmp_path: Path, files: list[Path]
) -> None:
    table = predict(tmp_path / "run", files[::-1])
    assert list(table) == ["file", "output"]
    assert table["file"] == [str(path) for path in files[::-1]]
    assert table["output"] == pytest.approx(
        [by_hand(tmp_path / "run", path) for path in files[::-1]], rel=1e-5
    )


@pytest.mark.parametrize(
    ("returned", "columns"),
    [
        (lambda b: b[:, 0], {"output": [0.0]}),
        (lambda b: b[:, :2], {"output_0": [0.0], "output_1": [1.0]}),
        (lambda b: {"sign": ["plus"] * len(b), "size": b[:, 1]}, {"sign": ["plus"], "size": [1.0]}),
    ],
)
def test_a_task_names_its_columns(
    tmp_path: Path, files: list[Path], monkeypatch: pytest.MonkeyPatch, returned: Any, columns: Any
) -> None:
    monkeypatch.setattr(Fit, "predict_step", lambda task, batch, _: returned(batch))
    assert predict(tmp_path / "run", files[:1]) == {"file": [str(files[0])], **columns}


def test_what_cannot_be_read_is_named_in_one_line(tmp_path: Path, files: list[Path]) -> None:
    files[1].write_text("no numbers")
    with pytest.raises(DataError, match=r"1\.txt: cannot be read: could not convert") as refused:
        predict(tmp_path / "run", files[:3])
    assert "\n" not in str(refused.value)
    with pytest.raises(DataError, match=r"nowhere: No such file or directory$"):
        predict(tmp_path / "run", [tmp_path / "nowhere"])
    with pytest.raises(ConfigError, match="no files"):
        predict(tmp_path / "run", [])


@pytest.mark.parametrize(
    "returned",
    [
        lambda b: (b, b),
        lambda b: None,
        lambda b: b.sum(),
        lambda b: {"sum": b.sum()},
        lambda b: {"few": [1]},
        lambda b: {"file": ["x"] * len(b)},
    ],
)
def test_what_a_task_may_not_return_is_one_line(
    tmp_path: Path, files: list[Path], monkeypatch: pytest.MonkeyPatch, returned: Any
) -> None:
    monkeypatch.setattr(Fit, "predict_step", lambda task, batch, _: returned(batch))
    with pytest.raises(ConfigError, match="predict_step of Fit: must return a dictionary"):
        predict(tmp_path / "run", files[:3])


def test_a_task_that_predicts_nothing_is_refused_in_one_line(
    tmp_path: Path, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(Fit, "predict_step")
    with pytest.raises(ConfigError, match="its task, Fit: ") as refused:
        predict(tmp_path / "run", files[:3])
    assert "\n" not in str(refused.value)


def test_data_that_reads_no_files_is_refused_in_one_line(
    tmp_path: Path, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(Points, "read")
    with pytest.raises(ConfigError, match=r"run: its data, Points, has no read\(path\), which "):
        predict(tmp_path / "run", files)
