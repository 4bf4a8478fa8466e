"""A training program in a process that kills itself with -9, as a power cut would.

`python dying.py PROGRAM TASK WHEN STEP [OVERRIDE ...]`: TASK is the import path of the program's
LightningModule; WHEN is `step` (after that optimizer step), `validation` (while the validation
after it runs) or `never`.
"""

import os
import runpy
import signal
import sys
from importlib import import_module
from typing import Any

program, task, when, step, *overrides = sys.argv[1:]
METHODS = {"step": "on_train_batch_end", "validation": "validation_step"}


def die_after(kind: type, method: str) -> None:
    original = getattr(kind, method)

    def dying(self: Any, *args: Any) -> Any:
        result = original(self, *args)
        if self.global_step == int(step):
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(kind, method, dying)


if when != "never":
    module, _, name = task.rpartition(".")
    die_after(getattr(import_module(module), name), METHODS[when])
sys.argv = [program, *overrides]
runpy.run_path(program, run_name="__main__")
