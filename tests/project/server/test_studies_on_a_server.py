"""A study on a server, online or synced later: the server holds what the run folders hold."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from client import TINY, environment, train, wandb
from equality import assert_server_holds
from gate import Gate
from wandb_server import WandbServer

from gradflow.gradients.verdict import Verdict
from gradflow.runs.status import Status

# On one worker, so that the runs which they look at are trained once.
pytestmark = [pytest.mark.server, pytest.mark.xdist_group("studies")]

# Activations of a fork: one job fails in training, one computes what no loss survives.
FORK = """
import torch


class Raises(torch.nn.ReLU):
    def forward(self, z):
        raise RuntimeError("injected failure")


class Diverges(torch.nn.ReLU):
    def forward(self, z):
        return super().forward(z) * 1e30
"""
JOBS = {"torch.nn.ReLU": "finished", "fork.Raises": "failed", "fork.Diverges": "finished"}


@dataclass(frozen=True)
class Study:
    name: str
    folders: dict[str, Path]  # by the job's activation


@pytest.fixture(scope="module", params=["online", "offline, then wandb sync"])
def study(
    request: pytest.FixtureRequest, gate: Gate, tmp_path_factory: pytest.TempPathFactory
) -> Study:
    """One after the other in one process, or two at a time in processes of their own."""
    home = tmp_path_factory.mktemp("study")
    (home / "fork.py").write_text(FORK)
    online = request.param == "online"
    name = "online" if online else "synced"
    words = [
        "-m",
        *TINY,
        "init=xavier_uniform",
        "norm=none",
        "model=plain_cnn",
        "remedy=clip",
        f"activation._target_={','.join(JOBS)}",
        f"study.name={name}",
        f"hydra.sweep.dir={home / name}",
        f"logger={'wandb' if online else 'offline'}",
        "logger.project=studies",
        "logger.tags=[mine]",
        "dry_step=false",  # which would refuse the job that raises
    ]
    if not online:
        words += ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    user = environment(gate.url, home)
    done = train(user, *words)
    assert done.returncode == 1, done.stderr  # one job fails
    if not online:
        assert not gate.upserted.keys() & {run.name for run in (home / name).iterdir()}
        segments = sorted((home / name).glob("*/wandb/offline-run-*"))
        assert len(segments) == len(JOBS)
        wandb(user, "sync", *segments)
    folders = {}
    for status in (home / name).glob("*/status.json"):
        config = yaml.safe_load((status.parent / "config.yaml").read_text())
        folders[config["activation"]["_target_"]] = status.parent
    assert folders.keys() == JOBS.keys()
    return Study(name, folders)


@pytest.mark.parametrize("job", JOBS)
def test_the_server_holds_what_the_run_folder_holds(
    server: WandbServer, gate: Gate, study: Study, job: str
) -> None:
    folder = study.folders[job]
    status = Status.read(folder)
    assert status is not None
    assert status.state == JOBS[job]
    assert_server_holds(server, gate, folder, group=study.name, tags=["mine", "clip"])


def test_jobs_of_one_study_are_runs_of_their_own(server: WandbServer, study: Study) -> None:
    ids = [json.loads((f / "status.json").read_text())["wandb_id"] for f in study.folders.values()]
    assert len(set(ids)) == len(JOBS)
    assert set(ids) <= server.ids("studies")
    assert {server.run(i).name for i in ids} == {f"activation._target_={job}" for job in JOBS}


def test_a_diverged_run_is_told_as_finished_with_its_verdict(
    server: WandbServer, gate: Gate, study: Study
) -> None:
    status = Status.read(study.folders["fork.Diverges"])
    verdict = Verdict.read(study.folders["fork.Diverges"])
    assert status is not None
    assert status.wandb_id is not None
    assert verdict is not None
    assert verdict.kind == "exploding"  # z grows by 30 decades a layer, before the first step
    assert gate.exit_codes[status.wandb_id] == 0
    assert server.run(status.wandb_id).summary["verdict"] == "exploding"
