"""scripts/train.py, in a process that kills itself with -9, as a power cut would.

`python dying_run.py WHEN STEP [OVERRIDE ...]`, from the repository's root; WHEN is `step` (after
that optimizer step), `validation` (while the validation after it runs) or `never`.
"""

import os
import runpy
import signal
import sys
from typing import Any

from project.tasks.classifier import Classifier

when, step, *overrides = sys.argv[1:]


def die_after(method: str) -> None:
    original = getattr(Classifier, method)

    def dying(self: Classifier, *args: Any, **more: Any) -> Any:
        result = original(self, *args, **more)
        if self.global_step == int(step):
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(Classifier, method, dying)


if when != "never":
    die_after({"step": "on_train_batch_end", "validation": "validation_step"}[when])
sys.argv = ["scripts/train.py", *overrides]
runpy.run_path("scripts/train.py", run_name="__main__")
