"""One server for all tests of a process, and a gate in front of it for each file of tests."""

from collections.abc import Iterator

import pytest
from gate import Gate
from wandb_server import WandbServer


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WandbServer]:
    """A server that is there from the first test to the last."""
    server = WandbServer(tmp_path_factory.mktemp("server") / "data")
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="module")
def gate(server: WandbServer) -> Iterator[Gate]:
    """The way to it, which notes what passes."""
    gate = Gate(server)
    yield gate
    gate.close()
