"""A search with Optuna through the real command line: its values, its end, and its continuation."""

import json
import math
import os
import shlex
import signal
import sqlite3
import subprocess
import time
from pathlib import Path

import pytest
from filelock import FileLock
from processes import SMALL_TRAIN, launched, run

pytestmark = pytest.mark.slow

SEARCH = ["-m", "hydra/sweeper=optuna", "hydra.sweeper.n_jobs=1", "study.name=found"]
RANGE = "lr=tag(log,interval(0.0001,0.03))"


def trials(study: Path) -> list[tuple[str, float | None]]:
    """Return each trial's state and value, as they are in the file."""
    with sqlite3.connect(study / "search.db") as database:
        return database.execute(
            "SELECT state, value FROM trials LEFT JOIN trial_values USING (trial_id) "
            "ORDER BY number"
        ).fetchall()


def folders(study: Path) -> dict[Path, dict[str, object]]:
    """Return the status of each run."""
    return {
        path.parent: json.loads(path.read_text()) for path in sorted(study.glob("*/status.json"))
    }


def test_a_trial_is_worth_its_headline_metric_and_a_bad_one_the_worst(tmp_path: Path) -> None:
    """One trial learns, one diverges, two raise an error, and two kill their process."""
    (tmp_path / "own.py").write_text(
        "import os\nimport torch\n\n\nclass Raises(torch.nn.ReLU):\n"
        "    def forward(self, z):\n        raise RuntimeError('injected failure')\n\n\n"
        "class Dies(torch.nn.ReLU):\n"
        "    def forward(self, z):\n        os.kill(os.getpid(), 9)\n"
    )
    study = tmp_path / "study"
    words = [
        *SEARCH,
        "hydra/sweeper/sampler=grid",
        "steps=4",
        "lr=choice(0.01,1e30)",
        "activation._target_=choice(torch.nn.ReLU,own.Raises,own.Dies)",
        f"hydra.sweep.dir={study}",
    ]
    done = run(tmp_path, *words)
    assert done.returncode == 1, done.stderr  # a job has failed
    runs = folders(study)
    values = {round(value, 6) for _, value in trials(study)}
    assert [state for state, _ in trials(study)] == 6 * ["COMPLETE"]
    (good,) = [
        (folder, status)
        for folder, status in runs.items()
        if status["state"] == "finished" and status["diverged_at"] is None
    ]
    distance = good[1]["metrics"]["validation/distance"]
    assert values == {round(distance, 6), math.inf}

    # The best is the table's first row, and its command line gives the same run.
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("best: ")]
    python, program, *overrides = shlex.split(line.removeprefix("best: "))
    assert (python, Path(program)) == ("python", SMALL_TRAIN)
    table = [row for row in done.stdout.splitlines() if row.startswith("│")]
    assert f"{distance:.3g}" in table[0]
    again = run(tmp_path, *overrides, f"hydra.run.dir={tmp_path / 'again'}")
    assert again.returncode == 0, again.stderr
    status = json.loads((tmp_path / "again/status.json").read_text())
    assert status["metrics"] == good[1]["metrics"]

    # Other settings would mix two searches.
    for other, message in [
        ("lr=choice(0.01,0.02)", "holds a search over lr"),
        ("steps=5", "holds a search with steps=4, and this launch is with steps=5"),
    ]:
        refused = run(tmp_path, *words, other)
        assert refused.returncode == 2, refused.stderr
        assert message in refused.stderr.splitlines()[-1]


def test_a_killed_search_goes_on_with_the_trials_that_are_left(tmp_path: Path) -> None:
    study = tmp_path / "study"
    words = [*SEARCH, RANGE, "steps=400", "validate_every=5", f"hydra.sweep.dir={study}"]
    words += ["hydra.sweeper.n_trials=3", "monitor.every_n_steps=1000"]
    unseen = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    launch = launched(tmp_path, *words, start_new_session=True, **unseen)
    deadline = time.monotonic() + 150
    while len(checkpointed := list(study.glob("*/checkpoints/last.ckpt"))) < 2:
        assert launch.poll() is None, "the search has ended before its second trial was seen"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(launch.pid, signal.SIGKILL)
    launch.wait()
    before = {path.parents[1] for path in checkpointed}
    finished = {f: s for f, s in folders(study).items() if s["state"] == "finished"}
    assert len(finished) == 1

    done = run(tmp_path, *words)
    assert done.returncode == 0, done.stderr
    after = folders(study)
    assert len(after) == 3
    assert before <= after.keys()
    assert {status["state"] for status in after.values()} == {"finished"}
    assert {folder: after[folder] for folder in finished} == finished  # not computed again
    (continued,) = before - finished.keys()
    assert after[continued]["resumed"] == 1
    assert [state for state, _ in trials(study)].count("COMPLETE") == 3
    values = {value for state, value in trials(study) if state == "COMPLETE"}
    assert values == {s["metrics"]["validation/distance"] for s in after.values()}

    # Started once more, nothing is left to do; with more trials, only these are added.
    widened = run(tmp_path, *words, "hydra.sweeper.n_trials=4")
    assert widened.returncode == 0, widened.stderr
    assert len(folders(study)) == 4
    assert {folder: folders(study)[folder] for folder in after} == after


def test_trials_run_in_parallel_and_one_launch_searches_at_a_time(tmp_path: Path) -> None:
    study = tmp_path / "study"
    words = [*SEARCH, RANGE, "steps=4", f"hydra.sweep.dir={study}", "hydra.sweeper.n_trials=4"]
    words += ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "hydra.sweeper.n_jobs=2"]
    done = run(tmp_path, *words)
    assert done.returncode == 0, done.stderr
    with FileLock(study / ".search.lock"):
        refused = run(tmp_path, *words)
    assert refused.returncode == 2
    assert "another launch is searching here" in refused.stderr.splitlines()[-1]
    assert [state for state, _ in trials(study)] == 4 * ["COMPLETE"]
    assert len(folders(study)) == 4


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([*SEARCH, "lr=tag(log,interval(0,1))"], "error: search space: The `low` value must be"),
        ([*SEARCH, "lr=0.1"], "error: search space: empty; allowed: lr="),
        (["-m", RANGE], "error: interval(…): needs a search, hydra/sweeper=optuna; allowed"),
    ],
)
def test_a_search_space_that_cannot_be_is_one_line(
    tmp_path: Path, words: list[str], message: str
) -> None:
    done = run(tmp_path, *words, f"hydra.sweep.dir={tmp_path / 'study'}")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(message)
    assert not (tmp_path / "study").exists()


def test_trials_with_the_same_settings_share_one_run_and_its_value(tmp_path: Path) -> None:
    study = tmp_path / "study"
    words = [*SEARCH, "activation=relu,tanh", "steps=4", f"hydra.sweep.dir={study}"]
    done = run(tmp_path, *words, "hydra.sweeper.n_trials=5")
    assert done.returncode == 0, done.stderr
    assert len(folders(study)) == 2
    values = [value for state, value in trials(study) if state == "COMPLETE"]
    assert len(values) == 5
    distances = {s["metrics"]["validation/distance"] for s in folders(study).values()}
    assert set(values) == distances
