"""The end of a study: its exit status, its table and its page, on folders made by hand."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hand_made import a_folder, record
from omegaconf import DictConfig, OmegaConf

from gradflow.launch import study as module
from gradflow.launch.launches import Job
from gradflow.launch.study import StudyEnd


@pytest.fixture
def study(tmp_path: Path) -> Iterator[DictConfig]:
    """A study of two runs in which the second has failed."""
    for name, changes in (("ok", {}), ("bad", {"state": "failed", "error": "E: why"})):
        record(a_folder(tmp_path / name, **changes), 1e-6, 1.0)
    sweeper = {"_target_": "BasicSweeper", "params": None}
    hydra = {
        "sweep": {"dir": str(tmp_path)},
        "overrides": {"hydra": [], "task": ["seed=0,1"]},
        "sweeper": sweeper,
        "launcher": {"_target_": "BasicLauncher"},
    }
    logger = {"mode": "none", "project": "p", "entity": None, "tags": []}
    yield OmegaConf.create(
        {
            "study": {"name": "mine"},
            "comparison": {"overlays": []},
            "logger": logger,
            "hydra": hydra,
        }
    )
    module.running = None


def end(study: DictConfig, *states: str) -> None:
    """Start and end a launch whose jobs ended so."""
    callback = StudyEnd()
    callback.on_multirun_start(study)
    assert module.running is not None
    for number, state in enumerate(states):
        module.running.launch.write(Job(number, "a folder", f"seed={number}", state))  # type: ignore[arg-type]
    callback.on_multirun_end(study)


def test_a_study_ends_with_table_page_and_an_exit_status_for_failures(
    study: DictConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        end(study, "finished", "failed")
    assert ended.value.code == 1
    output = capsys.readouterr().out
    assert "study mine" in output
    assert "E: why" in output
    assert output.endswith(f"page: {tmp_path / 'compare.html'}\n")
    assert (tmp_path / "compare.html").read_text().startswith("<!doctype html>")


@pytest.mark.parametrize("state", ["begun", "died", "failed", "interrupted", "refused"])
def test_a_launch_fails_for_its_own_jobs_alone(study: DictConfig, state: str) -> None:
    """The failed run in the folder is of an earlier launch."""
    end(study, "finished", "skipped", "left")
    with pytest.raises(SystemExit) as ended:
        end(study, "finished", state)
    assert ended.value.code == 1


@pytest.mark.parametrize("part", ["print_table", "build_page"])
def test_a_broken_page_hides_no_failure(
    study: DictConfig,
    part: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Hydra makes a warning of what a callback raises, and 0 of the status."""

    def broken(*args: object, **kwargs: object) -> None:
        raise UnicodeEncodeError("ascii", "±", 0, 1, "no ±")

    monkeypatch.setattr(f"gradflow.launch.study.{part}", broken)
    with pytest.raises(SystemExit) as ended:
        end(study, "failed")
    assert ended.value.code == 1
    assert "UnicodeEncodeError" in capsys.readouterr().err


def test_an_overlay_that_is_none_is_refused_before_the_first_job(
    study: DictConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study.comparison.overlays = ["os.system"]
    with pytest.raises(SystemExit) as ended:
        StudyEnd().on_multirun_start(study)
    assert ended.value.code == 2
    output = capsys.readouterr().err
    assert output.startswith("error: comparison.overlays=os.system: must be a ")
    assert output.count("\n") == 1
    assert not (tmp_path / ".launches").exists()
