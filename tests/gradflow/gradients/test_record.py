"""The record on disk: whole whenever it is read, in one line, and without repeated steps."""

import os
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from polars.testing import assert_frame_equal

from gradflow.gradients.histogram import Histograms, measure
from gradflow.gradients.record import (
    FOLDER,
    SCHEMA,
    Entry,
    RecordWriter,
    copy_as_one_part,
    first_non_finite,
    is_weight,
    read_gradients,
)

ENTRIES = [Entry("stem.weight", 0, 12), Entry("head.bias", 1, 3)]


def histograms(step: int) -> Histograms:
    generator = torch.Generator().manual_seed(step)
    return measure([torch.randn(12, generator=generator), torch.randn(3, generator=generator)])


def write(folder: Path, steps: range, first_step: int = 0, steps_per_part: int = 4) -> None:
    writer = RecordWriter(folder, first_step, steps_per_part)
    for step in steps:
        writer.append(step, "gradient", ENTRIES, vars(histograms(step)))
    writer.flush()


def test_what_was_appended_is_read_back_in_one_line(tmp_path: Path) -> None:
    write(tmp_path, range(0, 100, 10))
    rows = pl.read_parquet(tmp_path / FOLDER)
    assert rows.schema == SCHEMA
    assert_frame_equal(rows, read_gradients(tmp_path))
    assert rows["step"].to_list() == [step for step in range(0, 100, 10) for _ in ENTRIES]
    assert rows["name"].to_list() == ["stem.weight", "head.bias"] * 10
    assert rows["elements"].to_list() == [12, 3] * 10
    expected = [histograms(step) for step in range(0, 100, 10)]
    np.testing.assert_array_equal(
        rows["bins"].to_numpy(), np.concatenate([h.bins for h in expected])
    )
    for column in ("zeros", "subnormals", "nans", "infs", "norm", "rms", "max"):
        values = np.concatenate([getattr(h, column) for h in expected])
        np.testing.assert_array_equal(rows[column].to_numpy(), values)


def test_a_part_holds_the_given_number_of_steps_and_is_named_by_its_first(tmp_path: Path) -> None:
    write(tmp_path, range(0, 100, 10))
    names = sorted(path.name for path in (tmp_path / FOLDER).iterdir())
    assert names == [f"part-{step:010d}.parquet" for step in (0, 40, 80)]


def test_nothing_to_measure_is_a_row_of_nulls(tmp_path: Path) -> None:
    writer = RecordWriter(tmp_path, 0)
    writer.append(0, "gradient", ENTRIES[1:], {})
    writer.append(0, "gradient", ENTRIES[:1], vars(measure([torch.ones(12)])))
    writer.flush()
    rows = read_gradients(tmp_path)
    assert rows["index"].to_list() == [0, 1]  # from input to output, however appended
    assert rows["elements"].to_list() == [12, 3]
    measured = ["zeros", "subnormals", "nans", "infs", "norm", "rms", "max", "bins"]
    nulls = rows.select(list(SCHEMA)[6:]).null_count().row(0, named=True)
    assert nulls == {column: 1 if column in measured else 2 for column in nulls}


def test_statistics_without_a_finite_element_are_null_and_not_nan(tmp_path: Path) -> None:
    writer = RecordWriter(tmp_path, 0)
    writer.append(0, "gradient", ENTRIES[1:], vars(measure([torch.full((3,), torch.nan)])))
    writer.flush()
    row = read_gradients(tmp_path).row(0, named=True)
    assert (row["norm"], row["rms"], row["max"], row["nans"]) == (None, None, None, 3)


def test_a_flush_between_two_kinds_of_a_step_loses_neither(tmp_path: Path) -> None:
    writer = RecordWriter(tmp_path, 0)
    for kind in ("weight", "gradient"):
        writer.append(5, kind, ENTRIES, vars(histograms(5)))
        writer.flush()
    rows = read_gradients(tmp_path)
    assert rows["kind"].to_list() == ["gradient"] * 2 + ["weight"] * 2


@pytest.mark.parametrize("first_step", [0, 35, 40, 41, 60, 90, 1000])
def test_reopening_drops_the_rows_that_will_be_written_again(
    tmp_path: Path, first_step: int
) -> None:
    write(tmp_path, range(0, 100, 10))
    before = read_gradients(tmp_path)
    RecordWriter(tmp_path, first_step)
    assert_frame_equal(read_gradients(tmp_path), before.filter(pl.col("step") < first_step))


def test_a_resumed_record_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    for name in ("whole", "resumed"):
        (tmp_path / name).mkdir()
    write(tmp_path / "whole", range(0, 100, 10))
    write(tmp_path / "resumed", range(0, 70, 10))
    write(tmp_path / "resumed", range(50, 100, 10), first_step=50)
    assert_frame_equal(read_gradients(tmp_path / "resumed"), read_gradients(tmp_path / "whole"))


@pytest.mark.parametrize("stray", [".gradients.parquet.unfinished", f"{FOLDER}/notes.txt"])
def test_reading_passes_over_files_that_are_no_parts(tmp_path: Path, stray: str) -> None:
    write(tmp_path, range(5))
    before = read_gradients(tmp_path)
    (tmp_path / stray).write_bytes(b"PAR1 and then the power went")
    assert_frame_equal(read_gradients(tmp_path), before)


def test_opening_sweeps_what_a_killed_writer_left(tmp_path: Path) -> None:
    write(tmp_path, range(5))
    (tmp_path / ".gradients.parquet.unfinished").write_bytes(b"PAR1 and then")
    RecordWriter(tmp_path, 5)
    assert [path.name for path in tmp_path.iterdir()] == [FOLDER]


def test_a_part_appears_only_when_it_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process dies while the file is being written: a reader finds the earlier parts."""
    write(tmp_path, range(4))
    before = read_gradients(tmp_path)

    def half(self: pl.DataFrame, file: Path, **options: object) -> None:
        Path(file).write_bytes(b"PAR1" + os.urandom(100))
        raise KeyboardInterrupt

    monkeypatch.setattr(pl.DataFrame, "write_parquet", half)
    writer = RecordWriter(tmp_path, 4)
    writer.append(4, "gradient", ENTRIES, vars(histograms(4)))
    with pytest.raises(KeyboardInterrupt):
        writer.flush()
    assert_frame_equal(pl.read_parquet(tmp_path / FOLDER), before)


def test_columns_that_a_kind_does_not_have_are_null(tmp_path: Path) -> None:
    writer = RecordWriter(tmp_path, 0)
    columns = {"rms": [0.5, torch.nan], "units": [4, 3], "dead": np.array([0.25, np.nan])}
    writer.append(0, "pre_activation", ENTRIES, columns)
    writer.flush()
    rows = read_gradients(tmp_path)
    assert rows["rms"].to_list() == [0.5, None]
    assert rows["units"].to_list() == [4, 3]
    assert rows["dead"].to_list() == [0.25, None]
    others = rows.drop("step", "kind", "name", "index", "elements", *columns)
    assert others.null_count().sum_horizontal()[0] == 2 * len(others.columns)


def test_the_first_non_finite_loss_is_the_earliest_that_was_noted(tmp_path: Path) -> None:
    writer = RecordWriter(tmp_path, 0)
    assert first_non_finite(read_gradients(tmp_path)) is None
    for step, name in ((7, "stem.activation"), (9, "loss")):
        writer.append(step, "gradient", ENTRIES, vars(histograms(step)))
        writer.append(step, "non_finite", [Entry(name, 0, 1)], {})
    writer.flush()
    assert first_non_finite(read_gradients(tmp_path)) == (7, "stem.activation")


def test_parts_from_before_a_column_was_added_are_read_with_nulls(tmp_path: Path) -> None:
    write(tmp_path, range(8))
    first = min((tmp_path / FOLDER).iterdir())
    pl.read_parquet(first).drop("units", "dead", "saturated").write_parquet(first)
    rows = read_gradients(tmp_path)
    assert rows.schema == SCHEMA
    assert rows["step"].to_list() == [step for step in range(8) for _ in ENTRIES]


@pytest.mark.parametrize(
    ("name", "dimensions", "is_one"),
    [
        ("stem.weight", 4, True),
        ("attention.kernel", 2, True),
        ("norm.weight", 1, False),
        ("activation.weight", 1, False),  # of PReLU
        ("scale", 0, False),
        ("stem.weight", None, True),  # in a record from before dimensions were written
        ("stages.0.norm1.weight", None, False),
        ("attention.kernel", None, False),
    ],
)
def test_a_weight_has_two_dimensions_or_more(
    name: str, dimensions: int | None, is_one: bool
) -> None:
    assert is_weight(name, dimensions) == is_one


def test_a_folder_with_brackets_in_its_name_is_read(tmp_path: Path) -> None:
    """Hydra names a folder of a study like this; to a glob it would be another one."""
    folder = tmp_path / "remedy=[relu,batch_norm],seed=0"
    writer = RecordWriter(folder, 0)
    writer.append(0, "loss", [Entry("loss", 0, 1)], {"max": [2.0]})
    writer.flush()
    assert read_gradients(folder)["max"].to_list() == [2.0]
    RecordWriter(folder, 1)  # resumed
    assert len(read_gradients(folder)) == 1


def test_a_copy_in_one_part_has_every_row_in_order_and_is_never_whole_in_memory(
    tmp_path: Path, histograms_read: list[int]
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    for folder in (old, new):
        folder.mkdir()
        write(folder, range(0, 100, 10))
    first = min((old / FOLDER).iterdir())
    pl.read_parquet(first).drop("dimensions").write_parquet(first)
    expected = pl.concat(pl.read_parquet(part) for part in sorted((new / FOLDER).iterdir()))
    write(new, range(7))  # another record, which the copy replaces
    histograms_read.clear()
    copy_as_one_part(old, new)
    assert histograms_read == []
    assert [path.name for path in (new / FOLDER).iterdir()] == ["part-0000000000.parquet"]
    assert_frame_equal(read_gradients(new), expected)


def test_a_record_that_is_not_there_leaves_no_copy(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    copy_as_one_part(tmp_path / "old", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_run_that_was_not_watched_has_no_rows(tmp_path: Path) -> None:
    rows = read_gradients(tmp_path)
    assert rows.is_empty()
    assert rows.schema == SCHEMA


def test_a_folder_that_is_not_there_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"typo: no such run folder$"):
        read_gradients(tmp_path / "typo")


def test_a_record_of_42_tensors_takes_less_than_four_kilobytes(tmp_path: Path) -> None:
    entries = [Entry(f"net.blocks.{i}.conv.weight", i, 2000) for i in range(42)]
    generator = torch.Generator().manual_seed(0)
    writer = RecordWriter(tmp_path, 0)
    for step in range(20):
        layers = [torch.randn(2000, generator=generator) * 0.5**i for i in range(42)]
        writer.append(step, "gradient", entries, vars(measure(layers)))
    writer.flush()
    assert sum(path.stat().st_size for path in (tmp_path / FOLDER).iterdir()) / 20 < 4000
