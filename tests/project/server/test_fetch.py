"""Runs fetched from a server compare as their folders do."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from client import TINY, environment, train
from gate import Gate
from wandb_server import ENTITY, WandbServer

from gradflow.comparison.fetch import fetch_runs
from gradflow.errors import ConfigError
from gradflow.gradients.record import read_gradients
from gradflow.runs.metrics import read_rows
from gradflow.runs.read import read_run

# On one worker, so that the runs which they look at are trained once.
pytestmark = [pytest.mark.server, pytest.mark.xdist_group("fetch")]


@pytest.fixture(scope="module")
def folders(gate: Gate, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two runs of a study, on the server."""
    home = tmp_path_factory.mktemp("fetched")
    words = ["-m", *TINY, "seed=0,1", "logger=wandb", "logger.project=fetch", "study.name=pair"]
    done = train(environment(gate.url, home), *words, f"hydra.sweep.dir={home / 'pair'}")
    assert done.returncode == 0, done.stderr
    return sorted(path.parent for path in (home / "pair").glob("*/status.json"))


@pytest.fixture
def user(gate: Gate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This process is a user's."""
    for name, value in environment(gate.url, tmp_path).items():
        if name.startswith("WANDB_"):
            monkeypatch.setenv(name, value)
    _sign_out()


def _sign_out() -> None:
    """W&B keeps a process' settings and sign-in."""
    import wandb

    wandb.teardown()


def wandb_id(folder: Path) -> str:
    found: str = json.loads((folder / "status.json").read_text())["wandb_id"]
    return found


@pytest.mark.usefixtures("user")
def test_a_fetched_run_is_the_run(folders: list[Path], tmp_path: Path, gate: Gate) -> None:
    for text in (
        f"wandb:{ENTITY}/fetch/{wandb_id(folders[0])}",
        f"{gate.url}/{ENTITY}/fetch/runs/{wandb_id(folders[0])}/overview?nw=x",
    ):
        (fetched,) = fetch_runs(text, tmp_path / "cache")
        run = read_run(fetched)
        assert replace(run, folder=folders[0]) == read_run(folders[0])
        assert read_gradients(fetched).equals(read_gradients(folders[0]))


@pytest.mark.usefixtures("user")
def test_a_study_and_a_project_are_all_their_runs(folders: list[Path], tmp_path: Path) -> None:
    ids = sorted(map(wandb_id, folders))
    for text in (f"wandb:{ENTITY}/fetch/groups/pair", f"wandb:{ENTITY}/fetch"):
        assert sorted(f.name for f in fetch_runs(text, tmp_path / "cache")) == ids


@pytest.mark.usefixtures("user")
def test_a_run_without_its_record_is_what_w_and_b_knows_of_it(
    server: WandbServer, folders: list[Path], tmp_path: Path
) -> None:
    run_id = wandb_id(folders[1])
    shutil.rmtree(server.run(run_id).files / "record")
    (fetched,) = fetch_runs(f"wandb:{ENTITY}/fetch/{run_id}", tmp_path / "cache")
    known, original = read_run(fetched), read_run(folders[1])
    assert (known.state, known.steps) == ("finished", 24)
    assert known.metrics == original.metrics
    assert known.axes == {k: v for k, v in original.axes.items() if k != "logger"}
    assert known.settings == original.settings
    assert known.verdict is not None
    assert original.verdict is not None
    assert known.verdict.kind == original.verdict.kind
    assert read_rows(fetched) == read_rows(folders[1])
    assert known.flows() == []


@pytest.mark.usefixtures("user")
def test_a_live_run_is_running_even_if_an_earlier_part_has_left_its_record(tmp_path: Path) -> None:
    import wandb

    (tmp_path / "record").mkdir()
    (tmp_path / "record/status.json").write_text(json.dumps({"state": "interrupted"}))
    with wandb.init(project="live", entity=ENTITY, dir=tmp_path, mode="online") as run:
        run.save(tmp_path / "record/status.json", base_path=tmp_path, policy="now")
        run.log({"train/loss": 1.5, "trainer/global_step": 3})
        (live,) = fetch_runs(f"wandb:{ENTITY}/live/{run.id}", tmp_path / "cache")
        assert read_run(live).state == "running"
    (ended,) = fetch_runs(f"wandb:{ENTITY}/live/{run.id}", tmp_path / "cache")
    assert read_run(ended).state == "interrupted"  # as its record says


@pytest.mark.usefixtures("user", "folders")
@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"wandb:{ENTITY}/fetch/nothere", "Could not find run"),
        (f"wandb:{ENTITY}/nothere", "contains no run"),
        ("wandb:nobody", "names no run; allowed: wandb:ENTITY/PROJECT"),
    ],
)
def test_what_is_not_there_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        fetch_runs(text, tmp_path / "cache")
    assert str(caught.value).startswith(f"{text}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("user")
@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("WANDB_API_KEY", "", "no API key; `wandb login`"),
        ("WANDB_BASE_URL", "http://127.0.0.1:9", "Failed to verify credentials"),
    ],
)
def test_no_key_and_no_network_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str
) -> None:
    monkeypatch.setenv(name, value)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    _sign_out()
    with pytest.raises(ConfigError, match=message) as caught:
        fetch_runs(f"wandb:{ENTITY}/fetch/x", tmp_path / "cache")
    assert "\n" not in str(caught.value)
