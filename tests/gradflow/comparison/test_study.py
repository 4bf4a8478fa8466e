"""The end of a study: its exit status, its table and its page, on folders made by hand."""

from pathlib import Path

import pytest
from hand_made import a_folder, record
from omegaconf import DictConfig, OmegaConf

from gradflow.launch.study import StudyEnd


@pytest.fixture
def study(tmp_path: Path) -> DictConfig:
    """A study of two runs, the second of which failed after the study had begun."""
    for name, changes in (("ok", {}), ("bad", {"state": "failed", "error": "E: why"})):
        folder = a_folder(tmp_path / name, start="9999-01-01T00:00:00+00:00", **changes)
        record(folder, 1e-6, 1.0)
    return OmegaConf.create(
        {
            "study": {"name": "mine"},
            "comparison": {"overlays": []},
            "hydra": {"sweep": {"dir": str(tmp_path)}},
        }
    )


def test_a_study_ends_with_table_page_and_an_exit_status_for_failures(
    study: DictConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        StudyEnd().on_multirun_end(study)
    assert end.value.code == 1
    output = capsys.readouterr().out
    assert "study mine" in output
    assert "E: why" in output
    assert output.endswith(f"page: {tmp_path / 'compare.html'}\n")
    assert (tmp_path / "compare.html").read_text().startswith("<!doctype html>")


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
    with pytest.raises(SystemExit) as end:
        StudyEnd().on_multirun_end(study)
    assert end.value.code == 1
    assert "UnicodeEncodeError" in capsys.readouterr().err


def test_a_study_whose_runs_finished_ends_with_0(study: DictConfig, tmp_path: Path) -> None:
    for file in sorted((tmp_path / "bad").rglob("*"), reverse=True):
        file.unlink() if file.is_file() else file.rmdir()
    StudyEnd().on_multirun_end(study)


def test_an_overlay_that_is_none_is_refused_before_the_first_job(
    study: DictConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    study.comparison.overlays = ["os.system"]
    with pytest.raises(SystemExit) as end:
        StudyEnd().on_multirun_start(study)
    assert end.value.code == 2
    output = capsys.readouterr().err
    assert output.startswith("error: comparison.overlays=os.system: must be a ")
    assert output.count("\n") == 1
