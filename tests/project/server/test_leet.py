"""W&B's own `wandb leet` reads a run on this machine: its numbers are those of the record."""

import json
from pathlib import Path
from typing import Any

import pytest
from client import TINY, environment, train, wandb
from equality import assert_history_is_the_record

pytestmark = pytest.mark.server


def test_leet_shows_an_offline_run_as_its_folder_has_it(tmp_path: Path) -> None:
    user, folder = environment("http://127.0.0.1:9", tmp_path, key=None), tmp_path / "run"
    done = train(user, *TINY, "logger=offline", f"hydra.run.dir={folder}")
    assert done.returncode == 0, done.stderr
    (segment,) = (folder / "wandb").glob("offline-run-*")

    printed = wandb(user, "leet", "inspect", "--json", segment).stdout
    records = [json.loads(line) for line in printed.splitlines()]
    rows = [_nested(record["history"]["item"]) for record in records if record["type"] == "history"]
    assert_history_is_the_record(rows, folder)

    summary = json.loads(wandb(user, "leet", "inspect", "--summary", "--json", segment).stdout)
    verdict = json.loads((folder / "verdict.json").read_text())
    assert verdict["kind"] in json.dumps(summary)


def _nested(row: dict[str, Any]) -> dict[str, Any]:
    """`gradients/x.values` and `.bins` as the one histogram that the server gets."""
    values: dict[str, Any] = {}
    for key, value in row.items():
        name, dot, part = key.rpartition(".")
        if dot and part in ("_type", "bins", "values"):
            values.setdefault(name, {})[part] = value
        else:
            values[key] = value
    return values
