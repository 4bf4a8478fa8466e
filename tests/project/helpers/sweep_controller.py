"""Hand out the runs of a W&B sweep, as W&B's server does; openwandb knows no sweeps.

The real `wandb sweep` and `wandb agent` send the queries and read the answers.
"""

from __future__ import annotations

import json
import random
import threading
from typing import Any

import yaml

SWEEP = "sweep001"


class SweepController:
    """One sweep, of `runs` runs with parameters at random; `given` has them by run id."""

    def __init__(self, runs: int) -> None:
        self.given: dict[str, dict[str, Any]] = {}
        self._config: dict[str, Any] = {}
        self._runs = runs
        self._random = random.Random(0)
        self._lock = threading.Lock()
        self._project: dict[str, Any] = {}

    def answer(self, request: dict[str, Any]) -> Any:
        """Return the data of a query; None if the query is not about sweeps or agents."""
        query, given = request["query"], request.get("variables") or {}
        if "mutation UpsertSweep" in query:
            self._config = yaml.safe_load(given["config"])
            self._project = {
                "id": "1",
                "name": given["projectName"],
                "entity": {"id": "1", "name": "default"},
            }
            sweep = {"name": SWEEP, "project": self._project}
            return {"upsertSweep": {"sweep": sweep, "configValidationWarnings": []}}
        if "query SweepWithRuns" in query:
            config = yaml.safe_dump(self._config)
            found = {"id": "1", "name": SWEEP, "state": "RUNNING", "config": config, "runs": None}
            return {"project": {"sweep": found | {"runs": {"edges": []}}}}
        if "mutation CreateAgent" in query:
            return {"createAgent": {"agent": {"id": "agent"}}}
        if "mutation Heartbeat" in query:
            with self._lock:
                commands = self._next(json.loads(given["runState"]))
            return {"agentHeartbeat": {"agent": {"id": "agent"}, "commands": json.dumps(commands)}}
        return None

    def _next(self, states: dict[str, str]) -> list[dict[str, Any]]:
        if states:  # one run at a time
            return []
        if len(self.given) == self._runs:
            return [{"type": "exit"}]
        run_id = f"given{len(self.given):03d}"
        self.given[run_id] = {
            name: self._draw(kind) for name, kind in self._config["parameters"].items()
        }
        args = {name: {"value": value} for name, value in self.given[run_id].items()}
        program = self._config["program"]
        return [{"type": "run", "run_id": run_id, "program": program, "args": args}]

    def _draw(self, parameter: dict[str, Any]) -> Any:
        if "values" in parameter:
            return self._random.choice(parameter["values"])
        return parameter["min"] * (parameter["max"] / parameter["min"]) ** self._random.random()
