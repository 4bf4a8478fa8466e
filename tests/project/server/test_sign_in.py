"""logger=wandb without a key, or with a wrong one, is one line before anything is done."""

from pathlib import Path

import pytest
from client import TINY, environment, train
from gate import Gate
from wandb_server import KEY, WandbServer

pytestmark = pytest.mark.server


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (None, "no API key for {url}; `wandb login`, or logger=offline"),
        ("short", "WANDB_API_KEY invalid: API key must have 40+ characters, has 5.; `wandb login"),
        (KEY, "Failed to authenticate with {url}: returned error 401"),  # the server takes none
    ],
)
def test_a_key_that_is_missing_or_wrong_is_one_line_and_no_run(
    server: WandbServer, tmp_path: Path, key: str | None, message: str
) -> None:
    gate = Gate(server)
    gate.error = 401
    folder = tmp_path / "run"
    user = environment(gate.url, tmp_path, key)
    done = train(user, *TINY, "logger=wandb", f"hydra.run.dir={folder}")
    gate.close()
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert line.startswith("error: logger=wandb: " + message.format(url=gate.url))
    assert not folder.exists()
