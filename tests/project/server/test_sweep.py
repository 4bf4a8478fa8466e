"""A W&B sweep with the real `wandb sweep` and `wandb agent`, and conf/sweep/search.yaml."""

import json
import os
import re
import sys
from pathlib import Path

import pytest
import yaml
from client import TINY, environment, wandb
from gate import Gate
from sweep_controller import SWEEP, SweepController
from wandb_server import ENTITY, REPOSITORY, WandbServer

pytestmark = pytest.mark.server


def test_an_agents_runs_are_the_ones_that_the_sweep_handed_out(
    server: WandbServer, gate: Gate, tmp_path: Path
) -> None:
    gate.sweep = SweepController(runs=2)
    sweep = yaml.safe_load((REPOSITORY / "conf/sweep/search.yaml").read_text())
    runs = tmp_path / "runs"
    *command, arguments = sweep["command"]
    size = [word for word in TINY if not word.startswith("model.depth")]
    sweep["command"] = [*command, *size, f"hydra.run.dir={runs}/${{now:%f}}", arguments]
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(sweep))
    user = environment(gate.url, tmp_path)
    user["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), user["PATH"]])
    made = wandb(user, "sweep", "--project", "swept", tmp_path / "sweep.yaml")
    assert re.search(rf"wandb agent {ENTITY}/swept/{SWEEP}", made.stderr), made.stderr

    agent = wandb(user, "agent", f"{ENTITY}/swept/{SWEEP}")

    given = gate.sweep.given
    folders = {
        json.loads(path.read_text())["wandb_id"]: path.parent for path in runs.glob("*/status.json")
    }
    assert folders.keys() == given.keys(), agent.stdout + agent.stderr
    assert server.ids("swept") == given.keys()
    for run_id, folder in folders.items():
        config = yaml.safe_load((folder / "config.yaml").read_text())
        made_with = {
            "lr": config["lr"],
            "norm": config["axes"]["norm"],
            "init": config["axes"]["init"],
            "model.depth": config["model"]["depth"],
        }
        assert made_with == given[run_id]
        assert (config["logger"]["project"], config["logger"]["entity"]) == ("swept", ENTITY)
        assert gate.upserted[run_id]["sweep"] == SWEEP
        assert gate.exit_codes[run_id] == 0
        assert "validation/accuracy" in server.run(run_id).summary  # what the sweep looks at
