"""A run that is killed with -9 and continued has every step once on the server."""

import signal
from pathlib import Path

import pytest
from client import TINY, environment, train, wandb
from equality import assert_server_holds
from gate import Gate
from small_run import DYING
from wandb_server import WandbServer

from gradflow.runs.status import Status

pytestmark = pytest.mark.server


@pytest.mark.parametrize("logger", ["wandb", "offline"])
def test_a_killed_and_continued_run_has_every_step_once(
    server: WandbServer, gate: Gate, tmp_path: Path, logger: str
) -> None:
    user, folder = environment(gate.url, tmp_path), tmp_path / "run"
    words = [*TINY, f"logger={logger}", "logger.project=resumed", f"hydra.run.dir={folder}"]
    killed = train(user, *DYING, "step", "14", *words)  # the checkpoint is of step 8
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    before = Status.read(folder)
    assert before is not None

    continued = train(user, *words)
    assert continued.returncode == 0, continued.stderr
    status = Status.read(folder)
    assert status is not None
    assert (status.state, status.resumed) == ("finished", 1)
    assert status.wandb_id == before.wandb_id
    (segment,) = (folder / "wandb").glob("*run-*")
    if logger == "offline":
        assert status.wandb_id not in server.ids("resumed")
        wandb(user, "sync", segment)
    assert_server_holds(server, gate, folder, group=None, tags=[])

    # Sync again, and by force: nothing is more, nothing is less.
    wandb(user, "sync", "--include-online", segment)
    assert_server_holds(server, gate, folder, group=None, tags=[])
    wandb(user, "sync", "--include-online", "--include-synced", segment)
    assert_server_holds(server, gate, folder, group=None, tags=[])
