"""Names of other libraries that are not public and are leaned on all the same.

Tried with torch 2.15.0, lightning 2.6.6, hydra-core 1.3.8, wandb 0.31.0. When one moves, this test
says which file to look at, before a training says it in some other way.
"""

import inspect

import pytest
import torch
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from lightning.pytorch import Trainer
from lightning.pytorch.loops.fit_loop import _FitLoop
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.strategies.launchers.subprocess_script import _SubprocessScriptLauncher
from torch import nn
from torch._dynamo import OptimizedModule

TRAINER = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
LOOP = TRAINER.fit_loop.epoch_loop


@pytest.mark.parametrize(
    ("owner", "name", "used_by"),
    [
        (_SubprocessScriptLauncher, "_call_children_scripts", "training/distributed.py"),
        (_SubprocessScriptLauncher, "_check_can_spawn_children", "training/distributed.py"),
        (DDPStrategy, "_configure_launcher", "training/distributed.py"),
        (_FitLoop, "total_batch_idx", "training/seeding.py"),
        (LOOP, "_batches_that_stepped", "training/steps.py"),
        (LOOP, "advance", "training/checkpoints.py"),
        (LOOP, "on_advance_end", "training/checkpoints.py"),
        (LOOP, "done", "training/checkpoints.py"),
        (LOOP, "restarting", "training/checkpoints.py"),
        (_FitLoop, "_can_stop_early", "training/checkpoints.py"),
        (TRAINER._signal_connector, "register_signal_handlers", "training/run.py"),
        (torch, "_foreach_norm", "gradients/snapshot.py"),
        (torch, "_foreach_sub", "gradients/snapshot.py"),
        (torch, "_foreach_max", "gradients/histogram.py"),
        (torch, "_foreach_abs", "gradients/snapshot.py"),
        (OverridesParser, "create", "launch/resolvers.py"),
        (Plugins, "register", "launch/search_path.py"),
    ],
)
def test_a_name_that_is_leaned_on_is_still_there(owner: object, name: str, used_by: str) -> None:
    assert hasattr(owner, name), f"{owner}.{name} is gone: src/gradflow/{used_by} uses it"


def test_a_compiled_module_is_told_by_what_it_wraps() -> None:
    """gradients/compiled.py."""
    wrapped = torch.compile(nn.Linear(1, 1))
    assert isinstance(wrapped, OptimizedModule)
    assert isinstance(wrapped._orig_mod, nn.Linear)
    assert nn.Linear(1, 1)._compiled_call_impl is None


def test_lightnings_launcher_takes_what_it_is_given() -> None:
    """training/distributed.py."""
    expected = ["self", "cluster_environment", "num_processes", "num_nodes"]
    assert list(inspect.signature(_SubprocessScriptLauncher.__init__).parameters) == expected
