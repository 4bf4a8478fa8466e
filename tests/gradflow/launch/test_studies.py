"""Multiruns through the real command line: a failing job, starting again, several launches."""

import json
from pathlib import Path
from typing import Any

import pytest
from processes import launched, run
from records import wandb_records

pytestmark = pytest.mark.slow

# A fork's own activation, which fails in training. What it computes at first is ReLU.
FAILING = """
import torch


class Raises(torch.nn.ReLU):
    def forward(self, z):
        raise RuntimeError("injected failure")
"""


def status(folder: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((folder / "status.json").read_text())
    return values


def by_state(study: Path) -> dict[str, list[Path]]:
    states: dict[str, list[Path]] = {}
    for path in sorted(study.glob("*/status.json")):
        states.setdefault(status(path.parent)["state"], []).append(path.parent)
    return states


def exit_code(folder: Path) -> int:
    """The exit code in a job's W&B file, as W&B's own program prints it."""
    (ended,) = [record for record in wandb_records(folder) if record["type"] == "exit"]
    code: int = ended["exit"].get("exit_code", 0)
    return code


def test_a_failing_job_leaves_the_others_alone_and_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "failing.py").write_text(FAILING)
    study = tmp_path / "study"
    words = [
        "-m",
        "logger=offline",
        "activation._target_=torch.nn.ReLU,failing.Raises,torch.nn.SELU",
        "study.name=broken",
        f"hydra.sweep.dir={study}",
        "hydra.sweep.subdir=${hydra.job.num}",
    ]
    first = run(tmp_path, *words)
    assert first.returncode == 1, first.stderr
    states = by_state(study)
    assert {state: len(folders) for state, folders in states.items()} == {
        "finished": 2,
        "failed": 1,
    }
    (failed,) = states["failed"]
    log = (failed / "small_train.log").read_text()
    assert "Traceback (most recent call last)" in log
    assert "RuntimeError: injected failure" in log
    assert status(failed)["error"] == "RuntimeError: injected failure"
    assert "1 failed" in first.stdout
    assert "injected" in first.stdout
    assert [exit_code(folder) for folder in (failed, *states["finished"])] == [1, 0, 0]

    # Mended and started again: what is finished is left alone, the failed job is run.
    untouched = [(folder / "status.json").read_bytes() for folder in states["finished"]]
    (tmp_path / "failing.py").write_text("from torch.nn import SiLU as Raises\n")
    second = run(tmp_path, *words)
    assert second.returncode == 0, second.stderr + second.stdout
    assert [(folder / "status.json").read_bytes() for folder in states["finished"]] == untouched
    assert len(by_state(study)["finished"]) == 3


def test_a_diverged_job_does_not_fail_its_study(tmp_path: Path) -> None:
    study = tmp_path / "study"
    done = run(tmp_path, "-m", "lr=1e30", f"hydra.sweep.dir={study}")
    assert done.returncode == 0, done.stderr
    (job,) = by_state(study)["finished"]
    assert status(job)["diverged_at"] is not None
    assert " diverged " in done.stdout


@pytest.mark.timeout(600)
def test_eight_launches_of_a_study_compute_each_run_once(tmp_path: Path) -> None:
    study = tmp_path / "study"
    words = ["-m", "seed=0,1,2,3,4,5", "study.name=shared", f"hydra.sweep.dir={study}"]
    launches = [launched(tmp_path, *words) for _ in range(8)]
    printed = [launch.communicate(timeout=500)[0] for launch in launches]
    assert [launch.returncode for launch in launches] == [0] * 8, printed
    assert len(by_state(study)["finished"]) == 6
    for job in by_state(study)["finished"]:
        steps = [row.split(",")[0] for row in (job / "metrics.csv").read_text().splitlines()]
        assert steps == ["step", *"01233456778"]
        assert status(job)["resumed"] == 0


def test_joblib_computes_each_run_of_a_study_once(tmp_path: Path) -> None:
    study = tmp_path / "study"
    done = run(
        tmp_path,
        "-m",
        "seed=0,1,2",
        "hydra/launcher=joblib",
        "hydra.launcher.n_jobs=2",
        f"hydra.sweep.dir={study}",
    )
    assert done.returncode == 0, done.stderr
    finished = by_state(study)["finished"]
    assert len(finished) == 3
    assert len({(job / "metrics.csv").read_text() for job in finished}) == 3


@pytest.mark.parametrize(
    ("axis", "line"),
    [
        (
            "steps=range(1,1000000000)",
            "steps: makes more than 100,000 jobs, which a study may have",
        ),
        ("steps=shuffle(range(1,1000000000))", "steps: makes more than 100,000 jobs"),
        ("steps=range(1,5,0)", "steps: range() arg 3 must not be zero"),
        ("optimizer=glob(no_such_*)", "optimizer: has no value to sweep over"),
        ("logger.project=${oc.env:NO_SUCH}", "logger.project: KeyError raised while resolving"),
        ("study.note=a,b", "study.note: takes one sentence; with a comma: 'study.note=\"a, b\"'"),
        ("comparison.overlays=5", "comparison.overlays=5: must be a list of import paths"),
        ("comparison=5", "comparison=5: must be settings"),
        ("study.name=a,b", "study.name: takes one value, since it names the whole study"),
    ],
)
def test_an_axis_that_makes_no_study_is_one_line_and_exit_status_2(
    axis: str, line: str, tmp_path: Path
) -> None:
    done = run(tmp_path, "-m", axis, f"hydra.sweep.dir={tmp_path / 'study'}")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert done.stderr.startswith(f"error: {line}")
    assert not (tmp_path / "study").exists()


def test_a_reference_that_cannot_be_resolved_refuses_its_own_job_alone(tmp_path: Path) -> None:
    done = run(tmp_path, "-m", "lr=${oc.env:NO_SUCH},0.1", f"hydra.sweep.dir={tmp_path / 'study'}")
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    assert "NO_SUCH' not found" in done.stdout
    assert len(by_state(tmp_path / "study")["finished"]) == 1


def test_a_mistake_on_the_command_line_is_one_line_and_exit_status_2(tmp_path: Path) -> None:
    done = run(tmp_path, "steps=0", f"hydra.run.dir={tmp_path / 'run'}")
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "steps=0" in done.stderr
