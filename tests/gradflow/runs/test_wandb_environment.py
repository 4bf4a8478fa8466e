"""W&B's environment variables: each acts as W&B documents it, or is refused in one line.

The real client writes the runs, offline, and W&B's own program reads them.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import wandb
import yaml
from processes import run as run_program
from records import wandb_records
from small_project import CONF, fit

from gradflow.errors import ConfigError
from gradflow.launch.compose import compose
from gradflow.runs.wandb_environment import (
    refuse_in_study,
    settings_not_in_environment,
    with_environment,
)

Set = Callable[..., None]


@pytest.fixture
def variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Set:
    """A function that sets W&B's variables; WANDB_MODE is removed first."""
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.chdir(tmp_path)
    wandb.teardown()  # the client reads the environment once a process

    def set_all(**values: str) -> None:
        for name, value in values.items():
            monkeypatch.setenv(f"WANDB_{name}", value)
        wandb.teardown()

    return set_all


@pytest.fixture(autouse=True)
def _forgotten() -> Any:
    yield
    wandb.teardown()


def fit_offline(folder: Path, *words: str, files: Path | None = None) -> dict[str, Any]:
    """Return the run that W&B has written below `files`, by default the run's folder."""
    fit(folder, "steps=2", "validate_every=2", "test=false", "logger=offline", *words)
    records = wandb_records(files or folder)
    found: dict[str, Any] = next(record["run"] for record in records if record["type"] == "run")
    return found


def logger_of(folder: Path) -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load((folder / "config.yaml").read_text())["logger"]
    return values


def id_of(folder: Path) -> str:
    found: str = json.loads((folder / "status.json").read_text())["wandb_id"]
    return found


def interrupt(folder: Path) -> None:
    """Mark a finished run as one that was stopped."""
    status = json.loads((folder / "status.json").read_text())
    (folder / "status.json").write_text(json.dumps(status | {"state": "interrupted"}))


def test_the_variables_reach_the_run(tmp_path: Path, variables: Set) -> None:
    variables(PROJECT="elsewhere", ENTITY="team", TAGS="one,two", NAME="first", NOTES="as told")
    variables(RUN_GROUP="pair", JOB_TYPE="eval", RUN_ID="chosen")
    run = fit_offline(tmp_path / "run")
    assert (run["project"], run["entity"], run["tags"]) == ("elsewhere", "team", ["one", "two"])
    assert (run["display_name"], run["notes"]) == ("first", "as told")
    assert (run["run_group"], run["job_type"], run["run_id"]) == ("pair", "eval", "chosen")
    assert id_of(tmp_path / "run") == "chosen"
    assert logger_of(tmp_path / "run")["project"] == "elsewhere"


def test_an_override_wins_over_the_environment(tmp_path: Path, variables: Set) -> None:
    variables(PROJECT="a", ENTITY="a", TAGS="a", MODE="online")
    words = ["logger.project=b", "logger.entity=b", "logger.tags=[b]"]
    run = fit_offline(tmp_path / "run", *words)  # with logger=offline, no server is asked
    assert (run["project"], run["entity"], run["tags"]) == ("b", "b", ["b"])


def test_the_files_of_w_and_b_go_where_wandb_dir_says(tmp_path: Path, variables: Set) -> None:
    (tmp_path / "files").mkdir()
    variables(DIR=str(tmp_path / "files"))
    run = fit_offline(tmp_path / "run", files=tmp_path / "files")
    assert run["run_id"] == id_of(tmp_path / "run")
    assert not (tmp_path / "run/wandb").exists()


@pytest.mark.parametrize(
    ("own", "values", "expected"),
    [
        ("online", {}, "online"),
        ("online", {"MODE": "offline"}, "offline"),
        ("online", {"MODE": "dryrun"}, "offline"),
        ("online", {"MODE": "disabled"}, "none"),
        ("online", {"DISABLED": "true"}, "none"),
        ("offline", {"MODE": "online"}, "online"),
        ("offline", {"MODE": "run"}, "online"),
        ("none", {"MODE": "online"}, "none"),  # no variable turns it on
    ],
)
def test_the_mode_of_the_environment_wins_over_the_projects(
    variables: Set, own: str, values: dict[str, str], expected: str
) -> None:
    variables(**values)
    assert with_environment({"mode": own}, ())["mode"] == expected
    assert with_environment({"mode": own}, {"logger"})["mode"] == own


def test_an_unknown_mode_is_refused(variables: Set) -> None:
    variables(MODE="shared")
    with pytest.raises(ConfigError, match="WANDB_MODE=shared: allowed: online, run, offline"):
        with_environment({"mode": "online"}, ())


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"PROJECT": "a/b"}, []),
        ({}, ["logger.project=a/b"]),
        ({}, [f"logger.project={129 * 'x'}"]),
        ({}, ["logger.tags=['']"]),
        ({}, [f"logger.tags=[{65 * 'x'}]"]),
        ({"TAGS": 65 * "x"}, []),
        ({"RUN_ID": "a:b"}, []),
        ({"NAME": 129 * "x"}, []),
        ({"RUN_GROUP": 129 * "x"}, []),
        ({"JOB_TYPE": 65 * "x"}, []),
        ({"RESUME": "must"}, []),
        ({"RESUME": "allow"}, []),
        ({"FORK_FROM": "a?_step=1"}, []),
        ({"DIR": "/nowhere"}, []),
        ({"SWEEP_ID": "s", "RUN_ID": "a", "PROJECT": "p"}, ["logger.project=q"]),
    ],
)
def test_what_cannot_act_is_refused(
    variables: Set, values: dict[str, str], words: list[str]
) -> None:
    variables(**values)
    with pytest.raises(ConfigError) as caught:
        compose(["logger=offline", *words], CONF)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "values", [{"RUN_ID": "a"}, {"NAME": "a"}, {"RUN_GROUP": "a"}, {"SWEEP_ID": "s", "RUN_ID": "a"}]
)
def test_what_belongs_to_one_run_is_refused_in_a_study(
    variables: Set, values: dict[str, str]
) -> None:
    refuse_in_study({"mode": "offline"}, "study")
    variables(**values)
    with pytest.raises(ConfigError):
        refuse_in_study({"mode": "offline"}, "study")
    refuse_in_study({"mode": "none"}, "study")


@pytest.mark.slow
@pytest.mark.parametrize("mode", [[], ["-m", "seed=0,1"]])
def test_a_refusal_is_one_line_before_anything_is_made(tmp_path: Path, mode: list[str]) -> None:
    done = run_program(tmp_path, *mode, "logger=offline", f"logger.tags=[{65 * 'x'}]")
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: logger.tags: 'xxx")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_continued_run_keeps_its_id(tmp_path: Path, variables: Set) -> None:
    folder = tmp_path / "run"
    variables(RUN_ID="first")
    fit_offline(folder)
    interrupt(folder)
    variables(RUN_ID="second")
    assert fit_offline(folder)["run_id"] == id_of(folder) == "first"
    interrupt(folder)
    variables(SWEEP_ID="s")  # in a sweep W&B would take the agent's id
    with pytest.raises(ConfigError, match="WANDB_RUN_ID=second: the run in this folder is first"):
        fit_offline(folder)


def test_an_agents_run_is_recorded_as_w_and_b_has_made_it(tmp_path: Path, variables: Set) -> None:
    variables(SWEEP_ID="s", RUN_ID="given", PROJECT="swept", DIR=str(tmp_path))
    run = fit_offline(tmp_path / "run")  # an agent sets WANDB_DIR to its working directory
    assert run["run_id"] == id_of(tmp_path / "run") == "given"
    assert run["project"] == logger_of(tmp_path / "run")["project"] == "swept"


def test_w_and_b_prints_when_told_to(
    tmp_path: Path, variables: Set, capfd: pytest.CaptureFixture[str]
) -> None:
    fit_offline(tmp_path / "silent")
    assert "wandb: " not in capfd.readouterr().err
    variables(SILENT="false")
    fit_offline(tmp_path / "told")
    assert "wandb: " in capfd.readouterr().err


def test_a_setting_in_the_environment_is_left_to_w_and_b(variables: Set) -> None:
    assert settings_not_in_environment({"console": "off"}) == {"console": "off"}
    variables(CONSOLE="wrap")
    assert settings_not_in_environment({"console": "off"}) == {}
