"""From a checked configuration to the objects of one run; nothing here touches data or disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from torch import nn

from gradflow.errors import ConfigError
from gradflow.launch.instantiate import instantiate, refuse_without_effect
from gradflow.runs.metrics_file import MetricsFile
from gradflow.training.callbacks import profiler, standard_callbacks
from gradflow.training.distributed import hardware
from gradflow.training.dry_step import BATCHES
from gradflow.training.fine_tuning import freeze, load_weights
from project.config import Config


def build_data(config: Config) -> Any:
    """Build the LightningDataModule; nothing is read yet."""
    offered = {"seed": config.seed, "channels_last": config.channels_last}
    return instantiate(config.data, key="data", offered=offered, kind=L.LightningDataModule)


def build_net(config: Config, data: Any) -> nn.Module:
    """Build and initialize the net on the CPU, from torch's global random state.

    What `data` knows of itself, such as `num_classes` and `in_channels`, it has as attributes.
    """
    activation = instantiate(config.activation, key="activation", partial=True)
    offered = {
        "activation": activation,
        "norm": instantiate(config.norm, key="norm", partial=True),
        "branch": instantiate(config.branch, key="branch", partial=True),
        **_known(data),
    }
    refuse_without_effect(config, "model", ("activation", "norm", "branch"))
    net: nn.Module = instantiate(config.model, key="model", offered=offered, kind=nn.Module)
    initialize = instantiate(config.init, key="init", partial=True)
    try:
        initialize(net, activation)
    except ValueError as error:
        raise ConfigError(f"init={config.axes.get('init', config.init)}: {error}") from error
    if config.weights is not None:
        if config.chose("init") and not config.weights_except:
            raise ConfigError(f"init={config.axes['init']}: has no effect with weights")
        load_weights(net, Path(config.weights).expanduser(), list(map(str, config.weights_except)))
    freeze(net, [str(name) for name in config.freeze])
    if config.channels_last:
        net = net.to(memory_format=torch.channels_last)
    return net


def build_task(config: Config, data: Any) -> Any:
    """Build the LightningModule, and try its optimizer and schedule once."""
    net = build_net(config, data)
    lr = config.lr * config.lr_scale
    offered = {
        "net": torch.compile(net) if config.compile else net,
        "optimizer": instantiate(config.optimizer, key="optimizer", partial=True, lr=lr),
        "scheduler": instantiate(config.scheduler, key="scheduler", partial=True),
        "clip": instantiate(config.clip, key="clip"),
        "log_every": min(config.log_every, config.steps),
        **_known(data),
    }
    refuse_without_effect(config, "task", ("optimizer", "scheduler", "clip"))
    task = instantiate(config.task, key="task", offered=offered, kind=L.LightningModule)
    try:
        task.configure_optimizers()
    except (TypeError, ValueError) as error:
        chosen = [f"{axis}={config.axes.get(axis)}" for axis in ("optimizer", "scheduler")]
        raise ConfigError(f"{', '.join(chosen)}: {error}") from error
    return task


def few_steps(config: Config) -> Config:
    """Return a configuration of few batches in this process, for the dry step."""
    here = {"devices": 1, "num_nodes": 1, "strategy": "auto"}
    short = {
        "trainer": config.trainer.model_copy(update=here),
        "accumulate": min(config.accumulate, 2),
        "log_every": 1,
        "validate_every": 2,
        "limit_batches": BATCHES,
        "compile": False,
        "profiler": None,
    }
    return config.model_copy(update=short)


def _known(data: Any) -> dict[str, Any]:
    """Return what the data knows, by its attributes; None for the others."""
    names = ("num_classes", "in_channels", "class_counts", "classes")
    return {name: getattr(data, name, None) for name in names}


def build_trainer(
    config: Config, folder: Path, name: str, *, validates: bool, optimizers: int = 1
) -> L.Trainer:
    """Build Lightning's trainer, whose files all lie in `folder`.

    `optimizers` is how many the task moves in a step.
    """
    for key, node in config.callbacks.items():
        monitored = str(node.get("monitor"))
        if monitored.startswith("validation/") and not validates:
            raise ConfigError(
                f"callbacks.{key}.monitor={monitored}: needs a validation split; data.validation=0"
            )
    callbacks = []
    for key, node in config.callbacks.items():
        callbacks.append(instantiate(node, key=f"callbacks.{key}", kind=L.Callback))
    if config.monitor:
        callbacks.append(instantiate(config.monitor, key="monitor"))
    callbacks += standard_callbacks(
        config, folder, name, validates=validates, look_every=min(config.log_every, config.steps)
    )
    metrics = MetricsFile(folder)  # a damaged one is named here, not as the trainer's fault
    try:
        trainer = L.Trainer(
            **hardware(config.trainer, folder),
            precision=config.precision,
            max_steps=config.steps * optimizers,  # Lightning adds them up
            max_epochs=-1,
            accumulate_grad_batches=config.accumulate,
            val_check_interval=min(config.validate_every, config.steps) * config.accumulate,
            check_val_every_n_epoch=None,
            log_every_n_steps=min(config.log_every, config.steps),
            num_sanity_val_steps=0,
            limit_train_batches=config.limit_batches,
            limit_val_batches=config.limit_batches,
            profiler=profiler(config.profiler, folder),
            default_root_dir=folder,
            logger=metrics,
            callbacks=callbacks,
            enable_progress_bar=False,  # Progress is the run's own
            enable_model_summary=False,
        )
    except (TypeError, ValueError, RuntimeError, MisconfigurationException) as error:
        first = str(error).splitlines()[0]
        chosen = ", ".join(f"{key}={value}" for key, value in config.trainer)
        raise ConfigError(f"trainer={config.axes['trainer']} ({chosen}): {first}") from error
    if config.precision == "16-mixed" and trainer.strategy.root_device.type == "cpu":
        # Lightning would take bfloat16 instead, and the record would name the wrong precision.
        raise ConfigError(
            "precision=16-mixed: not on a CPU; allowed there: 32-true, bf16-mixed, 64-true"
        )
    return trainer
