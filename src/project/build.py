"""From a checked configuration to the objects of one run; nothing here touches data or disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from torch import nn

from gradflow.errors import ConfigError
from gradflow.launch.instantiate import instantiate
from gradflow.runs.metrics_file import MetricsFile
from gradflow.training.callbacks import standard_callbacks
from gradflow.training.checkpoints import AtomicCheckpointIO
from gradflow.training.distributed import strategy
from project.config import Config
from project.data import ImageData


def build(config: Config) -> tuple[L.LightningModule, ImageData]:
    """Build the task, with its net, and the data of a run."""
    data = build_data(config)
    return build_task(config, data), data


def build_data(config: Config) -> ImageData:
    """Build the data set's description; nothing is read yet."""
    data = instantiate(
        config.data, key="data", seed=config.seed, channels_last=config.channels_last
    )
    if not isinstance(data, ImageData):
        raise ConfigError(f"data._target_={config.data['_target_']}: must be an ImageData")
    return data


def build_net(config: Config, num_classes: int) -> nn.Module:
    """Build and initialize the net on the CPU, from torch's global random state."""
    activation = instantiate(config.activation, key="activation", partial=True)
    norm = instantiate(config.norm, key="norm", partial=True)
    net: nn.Module = instantiate(
        config.model, key="model", activation=activation, norm=norm, num_classes=num_classes
    )
    initialize = instantiate(config.init, key="init", partial=True)
    try:
        initialize(net, activation)
    except ValueError as error:
        raise ConfigError(f"init={config.axes.get('init', config.init)}: {error}") from error
    if config.channels_last:
        net = net.to(memory_format=torch.channels_last)
    return net


def build_task(config: Config, data: ImageData) -> Any:
    """Build the module that Lightning trains, and try its optimizer and schedule once."""
    net = build_net(config, data.num_classes)
    lr = config.lr * config.lr_scale
    task = instantiate(
        config.task,
        key="task",
        net=torch.compile(net) if config.compile else net,
        optimizer=instantiate(config.optimizer, key="optimizer", partial=True, lr=lr),
        scheduler=instantiate(config.scheduler, key="scheduler", partial=True),
        clip=instantiate(config.clip, key="clip"),
        num_classes=data.num_classes,
        log_every=min(config.log_every, config.steps),
    )
    try:
        task.configure_optimizers()
    except (TypeError, ValueError) as error:
        chosen = [f"{axis}={config.axes.get(axis)}" for axis in ("optimizer", "scheduler")]
        raise ConfigError(f"{', '.join(chosen)}: {error}") from error
    return task


def build_trainer(config: Config, folder: Path, name: str, *, validates: bool) -> L.Trainer:
    """Build Lightning's trainer, whose files all lie in `folder`."""
    for key, node in config.callbacks.items():
        monitored = str(node.get("monitor"))
        if monitored.startswith("validation/") and not validates:
            raise ConfigError(
                f"callbacks.{key}.monitor={monitored}: needs a validation split; data.validation=0"
            )
    callbacks = []
    for key, node in config.callbacks.items():
        callbacks.append(instantiate(node, key=f"callbacks.{key}"))
        if not isinstance(callbacks[-1], L.Callback):
            raise ConfigError(f"callbacks.{key}._target_={node['_target_']}: must be a Callback")
    if config.monitor:
        callbacks.append(instantiate(config.monitor, key="monitor"))
    callbacks += standard_callbacks(config, folder, name, validates=validates)
    metrics = MetricsFile(folder)  # a damaged one is named here, not as the trainer's fault
    try:
        trainer = L.Trainer(
            accelerator=config.trainer.accelerator,
            devices=config.trainer.devices,
            num_nodes=config.trainer.num_nodes,
            strategy=strategy(config.trainer.strategy, folder),
            precision=config.precision,
            max_steps=config.steps,
            max_epochs=-1,
            accumulate_grad_batches=config.accumulate,
            val_check_interval=min(config.validate_every, config.steps) * config.accumulate,
            check_val_every_n_epoch=None,
            log_every_n_steps=min(config.log_every, config.steps),
            num_sanity_val_steps=0,
            default_root_dir=folder,
            logger=metrics,
            callbacks=callbacks,
            plugins=[AtomicCheckpointIO()],
            enable_progress_bar=False,  # Progress is the run's own
            enable_model_summary=False,
        )
    except (ValueError, RuntimeError, MisconfigurationException) as error:
        first = str(error).splitlines()[0]
        chosen = ", ".join(f"{key}={value}" for key, value in config.trainer)
        raise ConfigError(f"trainer={config.axes['trainer']} ({chosen}): {first}") from error
    if config.precision == "16-mixed" and trainer.strategy.root_device.type == "cpu":
        # Lightning would take bfloat16 instead, and the record would name the wrong precision.
        raise ConfigError(
            "precision=16-mixed: not on a CPU; allowed there: 32-true, bf16-mixed, 64-true"
        )
    return trainer
