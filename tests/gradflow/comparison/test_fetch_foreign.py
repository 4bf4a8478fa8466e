"""What a server says of a run is somebody else's: it fills the run's folder, and nothing beside."""

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import wandb
import yaml

from gradflow.comparison.fetch import fetch_runs
from gradflow.errors import ConfigError
from gradflow.runs.foreign import refuse_foreign_code
from gradflow.runs.read import read_run
from gradflow.runs.status import Status


class File:
    """A file of a run on a server that does not check names, and a client that does not either."""

    def __init__(self, name: str, text: str) -> None:
        self.name, self._text = name, text

    def download(self, root: str, replace: bool) -> io.TextIOWrapper:
        path = Path(root) / self.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self._text)
        return path.open()


def serve(monkeypatch: pytest.MonkeyPatch, *files: File, **run: Any) -> None:
    values = {"id": "abc", "files": lambda: files, "config": {}, "summary": {}, "state": "finished"}
    values |= {"created_at": "2026-01-01", "history": lambda **_: []}
    api = SimpleNamespace(run=lambda path: SimpleNamespace(**values | run))
    monkeypatch.setattr(wandb, "Api", lambda **_: api)


EVIL = "axes: {}\nmodel: {_target_: planted.Net}\n"


def test_files_land_in_the_runs_folder_and_no_others_are_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Status("finished").write(tmp_path)
    status = (tmp_path / "status.json").read_text()
    (tmp_path / "status.json").unlink()
    names = [
        "record/../../../../../up",
        "record/planted.py",
        "../up",
        "/up",
        "record/x/config.yaml",
    ]
    names += ["record/checkpoints/last.ckpt", "record/gradients.parquet/../../../up", "config.yaml"]
    others = [File(name.replace("/up", f"{tmp_path}/up"), "x") for name in names]
    taken = [File("record/config.yaml", EVIL), File("record/status.json", status)]
    serve(monkeypatch, *others, *taken)
    (folder,) = fetch_runs("wandb:me/p/abc", tmp_path / "into")
    assert folder == tmp_path / "into" / "me" / "p" / "abc"
    found = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file())
    place = Path("into/me/p/abc")
    assert found == [place / "config.yaml", place / "status.json"]


@pytest.mark.parametrize("run_id", ["../x", "..", "a/b", "", "/x", "."])
def test_an_id_that_is_a_path_is_refused(
    run_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(monkeypatch, id=run_id)
    with pytest.raises(ConfigError, match="is no id of a run"):
        fetch_runs("wandb:me/p/abc", tmp_path / "into")
    assert not (tmp_path / "into").exists()


def test_what_it_brings_is_judged_like_any_foreign_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(monkeypatch, config={"model": {"_target_": "planted.Net"}, "axes": {"model": "x"}})
    (folder,) = fetch_runs("wandb:me/p/abc", tmp_path / "into")
    assert yaml.safe_load((folder / "config.yaml").read_text())["model"]
    with pytest.raises(ConfigError, match="planted"):
        refuse_foreign_code(read_run(folder).config, "small_project")
