"""A Weights & Biases server on this machine: openwandb, as a program of its own.

It is fetched and run by uv, and never imported: no part of gradflow depends on it. What it has
been told is read from its own storage, a SQLite file and a folder of files for each run.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import sqlite3
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[3]
PROGRAM = "openwandb@0.5.25"
ENTITY, KEY = "default", "local" + 40 * "0"


@dataclass(frozen=True)
class StoredRun:
    """One run in the server's storage."""

    name: str
    project: str
    state: str
    tags: list[str]
    config: dict[str, Any]
    summary: dict[str, Any]
    history: list[dict[str, Any]]
    files: Path  # the run's folder


class WandbServer:
    """The server on its own port; `start` after `kill` keeps the stored runs."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        command = [find_uv(), "tool", "run", PROGRAM, "serve", "--host", "127.0.0.1"]
        command += ["-p", str(self.port), "--data-dir", str(self._folder)]
        log = self._folder.with_suffix(".log")
        with log.open("ab") as written:
            self._process = subprocess.Popen(
                command, stdout=written, stderr=subprocess.STDOUT, start_new_session=True
            )
        deadline = time.monotonic() + 120  # the first time it has to be fetched
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/", timeout=10).close()
                return
            except (urllib.error.URLError, OSError) as error:
                ended = self._process.poll() is not None
                if ended or time.monotonic() > deadline:
                    self.kill()
                    last = log.read_text().strip().splitlines()[-1:]
                    raise RuntimeError(
                        f"`uv tool run {PROGRAM}` gives no server: {last}"
                    ) from error
                time.sleep(0.1)

    def kill(self) -> None:
        """Kill the server with SIGKILL, and uv, which started it."""
        if self._process is not None:
            if self._process.poll() is None:
                os.killpg(self._process.pid, 9)
            self._process.wait()
            self._process = None

    def ids(self, project: str) -> set[str]:
        """Return the ids of a project's runs."""
        return {row["run_id"] for row in self._rows() if row["project"] == project}

    def run(self, run_id: str) -> StoredRun:
        """Return the stored run with this id, in any project."""
        (row,) = [row for row in self._rows() if row["run_id"] == run_id]
        files = self._folder / "files" / ENTITY / row["project"] / run_id
        history = files / "wandb-history.jsonl"
        lines = history.read_text().splitlines() if history.exists() else []
        config = {key: v["value"] for key, v in json.loads(row["config_json"]).items()}
        return StoredRun(
            name=row["display_name"],
            project=row["project"],
            state=row["state"],
            tags=json.loads(row["tags_json"]),
            config={key: value for key, value in config.items() if key != "_wandb"},
            summary=json.loads(row["summary_json"]),
            history=_as_offsets_leave_it([json.loads(line) for line in lines]),
            files=files,
        )

    def _rows(self) -> list[sqlite3.Row]:
        with sqlite3.connect(self._folder / "openwandb.db") as database:
            database.row_factory = sqlite3.Row
            found = database.execute(
                "SELECT runs.*, projects.name AS project FROM runs "
                "JOIN projects ON projects.id = runs.project_id"
            )
            return found.fetchall()


def _as_offsets_leave_it(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the lines that W&B would keep: openwandb appends all that it receives.

    A client sends lines with the offset at which they belong, and a line that is sent again
    replaces the one before: after a broken connection, by `wandb sync` of a run that was online, or
    when a run takes the place of an earlier one. The offset of a line is its `_step` here, since
    each log call makes one line.
    """
    kept: dict[int, dict[str, Any]] = {}
    for line in lines:
        kept[line["_step"]] = line
    assert sorted(kept) == list(range(len(kept))), "lines are missing"
    return [kept[step] for step in sorted(kept)]


def find_uv() -> str:
    """Find uv as the Makefile does."""
    own = REPOSITORY / ".uv/bin/uv"
    found = shutil.which("uv")
    if found and subprocess.run([found, "--version"], capture_output=True).returncode == 0:
        return found
    if own.exists():
        return str(own)
    raise RuntimeError("these tests need uv, which `make setup` sets up")
