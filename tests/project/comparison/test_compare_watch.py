"""`compare.py --watch` follows a running study until Ctrl-C."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from filelock import FileLock
from hand_made import a_folder
from small_run import REPOSITORY


def test_the_table_follows_the_runs_until_ctrl_c(tmp_path: Path) -> None:
    folder = a_folder(tmp_path / "run", "running", steps=10)
    a_folder(tmp_path / "other", metrics={"train/loss": 1.0})
    with FileLock(folder / ".lock"):
        watching = subprocess.Popen(
            [sys.executable, "scripts/compare.py", str(tmp_path), "--watch"],
            cwd=REPOSITORY,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        assert watching.stdout is not None
        assert _line_with(watching, "running: ").strip().endswith("/run: step 10 of ?")
        status = json.loads((folder / "status.json").read_text()) | {"steps": 20}
        (folder / "status.json").write_text(json.dumps(status))
        assert _line_with(watching, "running: ").strip().endswith("/run: step 20 of ?")
    watching.send_signal(signal.SIGINT)
    _, errors = watching.communicate(timeout=60)
    assert (watching.returncode, errors) == (0, "")


def _line_with(process: subprocess.Popen[str], words: str) -> str:
    assert process.stdout is not None
    return next(line for line in process.stdout if words in line)
