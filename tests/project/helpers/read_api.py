"""Answer queries of W&B's read API from openwandb's storage; its own answers lack fields.

The real client sends the queries and reads the answers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from wandb_server import ENTITY, StoredRun, WandbServer


def answer(
    server: WandbServer, url: str, request: dict[str, Any], groups: Mapping[str, str | None]
) -> Any:
    """Return the data of a query; None if the query is not part of the read API.

    `groups` has the group of each run by id, which openwandb does not store.
    """
    query, wanted = request["query"], request.get("variables") or {}
    if not any(word in query for word in ("RunFragment", "query RunFiles", "RunFullHistory")):
        return None
    project = wanted["project"]
    ids = server.ids(project) if wanted["entity"] == ENTITY else set()
    if "runs(filters" in query:
        group = json.loads(wanted["filters"]).get("group")
        nodes = [_run(i, server.run(i), groups.get(i)) for i in sorted(ids)]
        nodes = [node for node in nodes if group in (None, node["group"])]
        edges = [{"node": node, "cursor": node["name"]} for node in nodes]
        return {"project": {"internalId": 1, "runCount": len(edges), "runs": _page(edges)}}
    if wanted["name"] not in ids:
        return {"project": {"internalId": 1, "run": None}}
    stored = server.run(wanted["name"])
    if "RunFullHistory" in query:
        run: dict[str, Any] = {"history": [json.dumps(row) for row in stored.history]}
    elif "query RunFiles" in query:
        names = [str(f.relative_to(stored.files)) for f in stored.files.rglob("*") if f.is_file()]
        edges = [
            {
                "cursor": name,
                "node": {
                    "id": name,
                    "name": name,
                    "url": f"{url}/files/{ENTITY}/{project}/{wanted['name']}/{name}",
                    "directUrl": f"{url}/files/{ENTITY}/{project}/{wanted['name']}/{name}",
                    "sizeBytes": str((stored.files / name).stat().st_size),
                },
            }
            for name in sorted(names)
        ]
        run = {"fileCount": len(edges), "files": _page(edges)}
    else:
        run = _run(wanted["name"], stored, groups.get(wanted["name"]))
    return {"project": {"internalId": 1, "run": run}}


def _page(edges: list[dict[str, Any]]) -> dict[str, Any]:
    return {"edges": edges, "pageInfo": {"endCursor": "", "hasNextPage": False}}


def _run(run_id: str, stored: StoredRun, group: str | None) -> dict[str, Any]:
    return {
        "id": run_id,
        "projectId": "1",
        "name": run_id,
        "displayName": stored.name,
        "tags": stored.tags,
        "state": stored.state,
        "group": group,
        "config": json.dumps({key: {"value": value} for key, value in stored.config.items()}),
        "summaryMetrics": json.dumps(stored.summary),
        "systemMetrics": "{}",
        "historyLineCount": len(stored.history),
        "createdAt": "2026-01-01T00:00:00Z",
        "user": {"name": "somebody", "username": "somebody"},
    }
