"""Reading somebody else's run runs none of their code: every script, many things to name.

Each foreign run is a real one whose files were changed to name what would leave a file behind.
"""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image
from scripts import Script, caller
from small_run import REPOSITORY, SMALL

from gradflow.launch.compose import compose
from project.train import train

PLANTED = """\
import pathlib
import torch

pathlib.Path(r"{canary}").write_text("imported")


class Net(torch.nn.Module):
    def __init__(self, *_, **__):
        super().__init__()
        pathlib.Path(r"{canary}").write_text("built")


def call(*_, **__):
    pathlib.Path(r"{canary}").write_text("called")
"""


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Script:
    """A script of the repository, in this process, which has its imports already."""

    return caller(monkeypatch, capsys)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own") / "run"
    train(compose([*SMALL, "steps=4"], REPOSITORY / "conf"), folder)
    return folder


@pytest.fixture
def canary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that code of the foreign run would write; its module can be imported."""
    folder = tmp_path / "importable"
    folder.mkdir()
    (folder / "planted.py").write_text(PLANTED.format(canary=tmp_path / "canary"))
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.chdir(folder)
    return tmp_path / "canary"


def foreign(own: Path, folder: Path, key: str, value: Any) -> Path:
    """Copy the run, and set `key` in its config.yaml."""
    shutil.copytree(own, folder)
    config = yaml.safe_load((folder / "config.yaml").read_text())
    *path, last = key.split(".")
    node = config
    for part in path:
        node = node.setdefault(part, {})
    node[last] = value
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder


WRITES = {"_target_": "pathlib.Path.write_text", "_args_": ["canary", "x"]}
NAMED: list[tuple[str, Any]] = [
    ("model", {"_target_": "planted.Net"}),
    ("model", {"_target_": "torch.nn.functional.torch.load", "f": "x"}),
    ("model", {"_target_": "torch.nn.Sequential", "_args_": [{"_target_": "planted.Net"}]}),
    ("model.block", {"_target_": "planted.call"}),
    ("model", {"_target_": "timm.create_model", "model_name": "resnet10t", "pretrained": True}),
    ("model", {"_target_": "torchvision.models.resnet18", "weights": "DEFAULT"}),
    ("activation", {"_target_": "planted.Net"}),
    ("norm._target_", "os.system"),
    ("init", {"_target_": "subprocess.call", "args": "touch canary"}),
    ("optimizer.nested", [[{"_target_": "planted.call"}]]),
    ("scheduler", WRITES),
    ("clip", WRITES),
    ("data._target_", "planted.call"),
    ("task", {"_target_": "planted.call"}),
    ("callbacks.x", {"_target_": "planted.call"}),
    ("monitor", {"_target_": "planted.call"}),
    ("activation.inplace", "${oc.env:HOME}"),
]


@pytest.mark.parametrize(("key", "value"), NAMED, ids=[f"{k}={v}"[:60] for k, v in NAMED])
def test_evaluate_and_predict_refuse_it_in_one_line(
    key: str, value: Any, own: Path, tmp_path: Path, canary: Path, script: Script
) -> None:
    run = foreign(own, tmp_path / "theirs", key, value)
    picture = tmp_path / "picture.png"
    Image.new("RGB", (32, 32)).save(picture)
    before = sorted(run.rglob("*"))
    for done in (script("evaluate.py", run), script("predict.py", run, picture)):
        assert done.code == 2
        (line,) = done.err.splitlines()
        assert line.startswith(f"error: {run}: {key.split('.')[0]}")
        assert "--trust" in line
    assert not canary.exists()
    assert sorted(run.rglob("*")) == before


@pytest.mark.parametrize(("key", "value"), NAMED, ids=[f"{k}={v}"[:60] for k, v in NAMED])
def test_compare_with_a_page_builds_nothing_of_it(
    key: str, value: Any, own: Path, tmp_path: Path, canary: Path, script: Script
) -> None:
    run = foreign(own, tmp_path / "theirs", key, value)
    done = script("compare.py", run, "--page", tmp_path / "page.html")
    assert done.code == 0, done.err
    assert (tmp_path / "page.html").exists()
    assert not canary.exists()


def test_the_project_that_a_run_names_is_not_imported(
    own: Path, tmp_path: Path, canary: Path, script: Script
) -> None:
    run = foreign(own, tmp_path / "theirs", "project", "planted.PROJECT")
    foreign(run, tmp_path / "again", "comparison.overlays", ["planted.call"])
    for folder in (run, tmp_path / "again"):
        assert script("evaluate.py", folder).code == 0
        assert script("compare.py", folder, "--page", tmp_path / "page.html").code == 0
    assert not canary.exists()


def test_a_checkpoint_that_holds_code_is_refused_in_one_line(
    own: Path, tmp_path: Path, canary: Path, script: Script
) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return exec, (f"open({str(canary)!r}, 'w')",)

    run = tmp_path / "theirs"
    shutil.copytree(own, run)
    last = run / "checkpoints" / "last.ckpt"
    content = torch.load(last, weights_only=True)
    torch.save(content | {"state_dict": {"x": Evil()}}, last)
    done = script("evaluate.py", run)
    assert done.code == 2
    assert len(done.err.splitlines()) == 1
    with pytest.raises(ValueError, match=r"^weights=.*damaged, or holds more than tensors"):
        train(compose([*SMALL, f"weights='{run}'"], REPOSITORY / "conf"), tmp_path / "mine")
    assert not canary.exists()


def test_with_trust_the_run_is_built(
    own: Path, tmp_path: Path, canary: Path, script: Script
) -> None:
    run = foreign(own, tmp_path / "theirs", "model", {"_target_": "planted.Net"})
    done = script("evaluate.py", run, "--trust")
    assert canary.read_text() == "built"
    assert done.code == 2
    assert "empty parameter list" in done.err  # as that net has


def test_the_readers_own_run_needs_no_trust(own: Path, script: Script) -> None:
    done = script("evaluate.py", own)
    assert done.code == 0, done.err
    assert "test/accuracy" in done.out
