"""A server that is away, broken or slow costs a run some seconds, and W&B nothing after a sync."""

import re
import shlex
import time
from datetime import datetime
from pathlib import Path

import pytest
from client import TINY, environment, train, wandb
from equality import assert_server_holds
from gate import Gate
from wandb_server import WandbServer

from gradflow.runs.status import Status

pytestmark = [pytest.mark.server, pytest.mark.timeout(280)]

WORDS = [*TINY, "logger=wandb", "logger.project=away"]
# What gradflow/training/wandb_run.py waits at most; W&B's client by itself waits 90 s at the start
# and for ever at the end. Imports, and the client's own start and end, take seconds more, and more
# than that where other work has the cores.
SIGN_IN, END, SLACK = 11.0, 30.0, 75.0

# An activation that holds the training, in its middle, until the server has its first rows: the
# client sends them once in fifteen seconds.
FORK = """
import pathlib, time
import torch


class Waits(torch.nn.ReLU):
    calls = 0

    def forward(self, z):
        Waits.calls += 1
        deadline = time.monotonic() + 60
        while Waits.calls == 200 and not pathlib.Path(__file__).with_name("sent").exists():
            assert time.monotonic() < deadline, "no row has been sent in a minute"
            time.sleep(0.05)
        return super().forward(z)
"""


def make_down(gate: Gate) -> None:
    gate.close()


def make_broken(gate: Gate) -> None:
    gate.error = 500


def make_slow(gate: Gate) -> None:
    gate.delay = 3600.0


FAULTS = {"down": make_down, "answering 500": make_broken, "very slow": make_slow}


def trained(url: str, home: Path, *more: str) -> tuple[str, Status]:
    """Train to the end, whatever the server does; what was said, and how it ended.

    The folder's whole record is that of a run without W&B (assert_server_holds looks at it): here
    only that it is there, and that nothing was waited for longer than is allowed.
    """
    started = time.time()
    done = train(environment(url, home), *WORDS, *more, f"hydra.run.dir={home / 'run'}")
    ended = time.time()
    assert done.returncode == 0, done.stderr
    status = Status.read(home / "run")
    assert status is not None
    assert (status.state, status.steps) == ("finished", 24)
    assert status.end is not None
    begun, trained = (datetime.fromisoformat(t).timestamp() for t in (status.start, status.end))
    assert begun - started < SIGN_IN + SLACK
    assert trained - begun < SLACK  # not held up in between
    assert ended - trained < END + SLACK
    return done.stdout + done.stderr, status


@pytest.mark.parametrize("fault", FAULTS)
def test_a_server_away_at_the_start_makes_the_run_an_offline_one(
    server: WandbServer, tmp_path: Path, fault: str
) -> None:
    away = Gate(server)
    FAULTS[fault](away)
    output, status = trained(away.url, tmp_path)
    away.close()
    assert f"{away.url} does not answer; the run is kept offline, for `wandb sync`" in output
    (segment,) = (tmp_path / "run/wandb").glob("*run-*")
    assert segment.name.startswith("offline-run-")

    assert status.wandb_id not in server.ids("away")
    gate = Gate(server)
    wandb(environment(gate.url, tmp_path), "sync", segment)
    gate.close()
    assert_server_holds(server, gate, tmp_path / "run", group=None, tags=[])


@pytest.mark.parametrize("fault", ["killed", "answering 500", "very slow"])
def test_what_a_server_that_leaves_a_run_midway_has_missed_comes_with_a_sync(
    tmp_path: Path, fault: str
) -> None:
    server = WandbServer(tmp_path / "data")
    server.start()
    gate = Gate(server)
    (tmp_path / "fork.py").write_text(FORK)

    def leave() -> None:
        if fault == "killed":
            server.kill()
        else:
            FAULTS[fault](gate)
        (tmp_path / "sent").touch()

    gate.when_history_comes = leave
    try:
        waiting = ["activation._target_=fork.Waits", "init=xavier_uniform"]
        output, status = trained(gate.url, tmp_path, *waiting)
        assert status.wandb_id not in gate.exit_codes, "the server has been told of the end"
        gate.close()
        gate = Gate(server)
        if fault == "killed":
            server.start()
        command = re.search(r"later: wandb (sync .*)", output)
        assert command is not None, output
        wandb(environment(gate.url, tmp_path), *shlex.split(command[1]))
        assert_server_holds(server, gate, tmp_path / "run", group=None, tags=[])
    finally:
        gate.close()
        server.kill()
