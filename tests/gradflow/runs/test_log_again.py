"""What is logged again of a resumed run is what its folder holds, a few records at a time."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger

from gradflow.gradients.histogram import measure
from gradflow.gradients.record import Entry, RecordWriter
from gradflow.runs import log_again as module

ENTRIES = [Entry("stem.weight", 0, 50, 4), Entry("head.weight", 1, 50, 2)]
KINDS = ("gradient", "weight")


def test_each_record_is_logged_again_with_its_own_histograms(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, histograms_read: list[int]
) -> None:
    writer = RecordWriter(tmp_path, 0)
    measured = {}
    for step in range(0, 60):
        generator = torch.Generator().manual_seed(step)
        for kind in KINDS:
            of_step = measure([torch.randn(50, generator=generator) for _ in ENTRIES])
            measured[step, kind] = of_step
            writer.append(step, kind, ENTRIES, vars(of_step))
    writer.flush()
    (tmp_path / "metrics.csv").write_text("step,epoch,loss\n10,0,2.5\n50,0,1.5\n")
    logged: list[tuple[int, Any]] = []

    def note(_: object, step: int, rows: Any, flow: Any) -> None:
        assert flow.step == step
        logged.append((step, rows))

    monkeypatch.setattr(module, "log_record", note)
    histograms_read.clear()
    module.log_again([CSVLogger(tmp_path / "logger")], tmp_path, 50)
    assert [step for step, _ in logged] == list(range(50))
    for step, rows in logged:
        assert [of_kind.kind for of_kind in rows] == list(KINDS)
        for of_kind in rows:
            assert [entry.name for entry in of_kind.entries] == ["stem.weight", "head.weight"]
            of_step = measured[step, of_kind.kind]
            np.testing.assert_array_equal(np.stack(of_kind.columns["bins"]), of_step.bins)
            np.testing.assert_array_equal(of_kind.columns["zeros"], of_step.zeros)
    assert sum(histograms_read) == 50 * len(KINDS) * len(ENTRIES)
    assert max(histograms_read) == 20 * len(KINDS) * len(ENTRIES)
