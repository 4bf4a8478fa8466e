"""Predict from files with the net of a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from gradflow.errors import ConfigError, DataError
from gradflow.training.process import restored_process
from gradflow.training.project import Project
from gradflow.training.trained import Checkpoint, plain_trainer, trained

_BATCH = 64


def predict(
    project: Project,
    folder: Path,
    files: Sequence[Path],
    which: Checkpoint = "last",
    *,
    trust: bool = False,
) -> dict[str, list[Any]]:
    """Return a table, column by column: `file`, and what the task predicts for each file.

    The data of the run reads a file with its `read(path)`, which returns one input as the net sees
    it in an evaluation. The task's `predict_step` gets a batch of them, (B, ...). It returns its
    columns, each with B values under a name, or one tensor (B,) or (B, K). `trust` as in `trained`.

    Raises:
        ConfigError: as in `trained`, or if the run's data cannot read single files.
        DataError: if a file cannot be read.
    """
    if not files:
        raise ConfigError("no files to predict from")
    with restored_process():
        config, task, data = trained(project, folder, which, trust=trust)
        if not hasattr(data, "read"):
            raise ConfigError(
                f"{folder}: its data, {type(data).__name__}, has no read(path), "
                "which returns the input of a file"
            )
        torch.set_num_threads(config.threads or torch.get_num_threads())
        inputs = DataLoader(_Inputs(files, data), batch_size=_BATCH)
        try:
            batches = plain_trainer(config).predict(task, inputs)
        except MisconfigurationException as error:  # it has neither predict_step nor forward
            first = str(error).splitlines()[0]
            raise ConfigError(f"{folder}: its task, {type(task).__name__}: {first}") from error
    table: dict[str, list[Any]] = {"file": [str(path) for path in files]}
    for batch in batches or []:
        for name, values in _columns(batch).items():
            table.setdefault(name, []).extend(values)
    if any(len(values) != len(files) for values in table.values()):
        raise ConfigError(
            f"{folder}: predict_step of {type(task).__name__}: must return a dictionary of "
            "columns, none called file, or a tensor, with one value or row for each input"
        )
    return table


class _Inputs(Dataset[Tensor]):
    def __init__(self, files: Sequence[Path], data: Any) -> None:
        self._files, self._data = files, data

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> Tensor:
        path = self._files[index]
        try:
            found: Tensor = self._data.read(path)
        except Exception as error:  # Pillow's are of many types
            why = getattr(error, "strerror", None)
            if why is None:  # Pillow ends its message with the address of an object
                why = f"cannot be read: {str(error).partition(' <')[0]}".splitlines()[0]
            raise DataError(f"{path}: {why}") from error
        return found


def _columns(batch: Any) -> dict[str, list[Any]]:
    if isinstance(batch, Mapping):
        return {name: _plain(values) for name, values in batch.items()}
    if not isinstance(batch, Tensor) or batch.ndim == 0:
        return {"output": []}
    rows = batch.reshape(len(batch), -1)
    if rows.shape[1] == 1:
        return {"output": _plain(rows[:, 0])}
    return {f"output_{k}": _plain(column) for k, column in enumerate(rows.unbind(1))}


def _plain(values: Any) -> list[Any]:
    if isinstance(values, Tensor):
        values = values.tolist()
    return (
        list(values) if isinstance(values, Iterable) and not isinstance(values, str) else [values]
    )
